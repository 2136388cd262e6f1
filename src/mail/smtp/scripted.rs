//! A mail server for tests that answers what its script says, once, to one client.

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// What the server does at one step.
#[derive(Clone, Copy)]
pub(super) enum Act {
    /// Writes these lines; `\n` becomes CRLF.
    Say(&'static str),
    /// Closes the connection.
    Close,
    /// Answers nothing any more, but keeps listening.
    Silence,
    /// Neither answers nor reads any more, for ever.
    Deafness,
}

/// What the server does at every step.
#[derive(Clone, Copy)]
pub(super) struct Script {
    pub(super) greeting: Act,
    pub(super) ehlo: Act,
    pub(super) starttls: Act,
    pub(super) auth: Act,
    pub(super) mail: Act,
    pub(super) rcpt: Act,
    pub(super) data: Act,
    pub(super) content: Act,
    pub(super) quit: Act,
}

/// A server that takes everything.
pub(super) const WILLING: Script = Script {
    greeting: Act::Say("220 test ready"),
    ehlo: Act::Say("250-test\n250-8BITMIME\n250 AUTH PLAIN LOGIN"),
    starttls: Act::Say("220 go"),
    auth: Act::Say("235 2.7.0 welcome"),
    mail: Act::Say("250 2.1.0 ok"),
    rcpt: Act::Say("250 2.1.5 ok"),
    data: Act::Say("354 go on"),
    content: Act::Say("250 2.0.0 queued"),
    quit: Act::Say("221 2.0.0 bye"),
};

/// What the server heard.
#[derive(Default, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    /// Command lines, without line ends.
    pub(super) commands: Vec<String>,
    /// The content, as it came, without the end mark's `.` line.
    pub(super) content: String,
}

impl Heard {
    /// The first words of all commands.
    pub(super) fn verbs(&self) -> Vec<&str> {
        self.commands.iter().filter_map(|line| line.split(' ').next()).collect()
    }
}

/// A server that waits for its client.
pub(super) struct ScriptedServer {
    listener: TcpListener,
    script: Script,
    pub(super) port: u16,
}

impl ScriptedServer {
    pub(super) fn start(script: Script) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // Little room, so that a server that does not read is noticed soon.
        socket.set_recv_buffer_size(4_096).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let port = listener.local_addr().unwrap().port();
        Self { listener, script, port }
    }

    /// Serves one client until it is gone.
    pub(super) async fn serve(self) -> Heard {
        let (stream, _peer) = self.listener.accept().await.unwrap();
        let mut client = Client { stream: BufReader::new(stream), heard: Heard::default() };
        // The client may be gone at any moment: then its part of the story is over.
        drop(client.converse(self.script).await);
        client.heard
    }
}

struct Client {
    stream: BufReader<TcpStream>,
    heard: Heard,
}

/// The conversation is over.
struct Over;

impl Client {
    async fn converse(&mut self, script: Script) -> Result<(), Over> {
        self.act(script.greeting).await?;
        loop {
            let line = self.line().await?;
            let verb = line.split(' ').next().unwrap_or_default().to_owned();
            self.heard.commands.push(line);
            match verb.as_str() {
                "EHLO" => self.act(script.ehlo).await?,
                "STARTTLS" => self.act(script.starttls).await?,
                "AUTH" => self.act(script.auth).await?,
                "MAIL" => self.act(script.mail).await?,
                "RCPT" => self.act(script.rcpt).await?,
                "QUIT" => self.act(script.quit).await?,
                "DATA" => {
                    self.act(script.data).await?;
                    if matches!(script.data, Act::Say(text) if text.starts_with('3')) {
                        self.content().await?;
                        self.act(script.content).await?;
                    }
                }
                _ => self.act(Act::Say("500 what?")).await?,
            }
        }
    }

    async fn act(&mut self, act: Act) -> Result<(), Over> {
        match act {
            Act::Say(text) => {
                let lines = format!("{}\r\n", text.replace('\n', "\r\n"));
                self.stream.get_mut().write_all(lines.as_bytes()).await.map_err(|_| Over)
            }
            Act::Close => Err(Over),
            Act::Silence => loop {
                let line = self.line().await?;
                self.heard.commands.push(line);
            },
            Act::Deafness => std::future::pending().await,
        }
    }

    async fn content(&mut self) -> Result<(), Over> {
        loop {
            let line = self.line().await?;
            if line == "." {
                return Ok(());
            }
            self.heard.content.push_str(&line);
            self.heard.content.push_str("\r\n");
        }
    }

    async fn line(&mut self) -> Result<String, Over> {
        let mut line = String::new();
        match self.stream.read_line(&mut line).await {
            Ok(0) | Err(_) => Err(Over),
            // A line end that is not whole is no SMTP: the client will miss its answer.
            Ok(_) => line.strip_suffix("\r\n").map(str::to_owned).ok_or(Over),
        }
    }
}
