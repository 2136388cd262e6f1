//! Files on their way to the platform.

use std::io::Write as _;

use super::*;
use crate::connect::OutgoingFile;

fn written(content: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    file
}

fn file(content: &tempfile::NamedTempFile) -> OutgoingFile {
    OutgoingFile {
        line: "L".into(),
        user: "U".into(),
        author: None,
        mode: SendMode::Bot,
        notification_only: false,
        general_settings: true,
        keyboard: None,
        file_name: "счёт \"7\".pdf".to_owned(),
        comment: Some("secret words".to_owned()),
        is_image: false,
        content: content.path().to_owned(),
        bytes: content.as_file().metadata().unwrap().len(),
        deadline: now().plus(Span::from_secs(4)),
    }
}

fn no_file(answer: &Answer) -> &str {
    match answer {
        Answer::NotDone { why: NotDone::NoFile(detail), retry_after: None } => detail,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_file_is_a_form_of_two_parts_with_a_known_length() {
    let content = written(b"a\r\n--b\0c");
    let server = Server::bind().await;
    let client = client(server.url("http"), LONG);
    let image = OutgoingFile { is_image: true, comment: None, ..file(&content) };
    let answers = server.run(&[], async {
        (client.send_file(&file(&content)).await, client.send_file(&image).await)
    });
    assert_eq!(answers.await, (Answer::Done, Answer::Done));
    let requests = server.requests();
    let (head, body) = requests[0].split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /v1/line/send/file/ HTTP/1.1\r\n"), "{head}");
    assert!(requests[1].starts_with("POST /v1/line/send/image/ HTTP/1.1\r\n"));
    assert!(!requests[1].contains("comment"));
    let header = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, v)| v).next()
    };
    assert_eq!(header("content-length"), Some(body.len().to_string().as_str()));
    assert_eq!(header("transfer-encoding"), None);
    let kind = header("content-type").unwrap();
    let boundary = kind.strip_prefix("multipart/form-data; boundary=").unwrap();
    let parts: Vec<&str> = body.split(&format!("--{boundary}")).collect();
    let [before, meta, data, after] = parts.as_slice() else { panic!("{body}") };
    assert_eq!((*before, *after), ("", "--\r\n"));
    let (meta_head, meta) = meta.split_once("\r\n\r\n").unwrap();
    assert!(meta_head.contains("name=\"meta\"") && meta_head.contains("application/json"));
    assert_eq!(
        serde_json::from_str::<Value>(meta).unwrap(),
        json!({"line_id":"L","user_id":"U","file_name":"счёт \"7\".pdf",
               "comment":"secret words","general_settings":true})
    );
    let (data_head, data) = data.split_once("\r\n\r\n").unwrap();
    assert!(data_head.contains("name=\"file\"; filename=\"счёт _7_.pdf\""), "{data_head}");
    assert_eq!(data, "a\r\n--b\0c\r\n");
    let other = requests[1].split_once("boundary=").unwrap().1;
    assert!(!other.starts_with(boundary), "a boundary is never used again");
}

#[tokio::test]
async fn a_file_that_is_not_there_or_has_another_length_is_not_done() {
    let content = written(b"four");
    let nowhere = client("http://127.0.0.1:1".parse().unwrap(), LONG);
    let missing = OutgoingFile { content: "/no/such/secret".into(), ..file(&content) };
    let answer = nowhere.send_file(&missing).await;
    assert!(no_file(&answer).contains("cannot be opened"));
    assert!(!no_file(&answer).contains("secret"), "where it is, is nobody's business");
    let folder = OutgoingFile { content: std::env::temp_dir(), ..file(&content) };
    assert!(no_file(&nowhere.send_file(&folder).await).contains("not a file"));
    for bytes in [3, 5] {
        let other = OutgoingFile { bytes, ..file(&content) };
        assert!(no_file(&nowhere.send_file(&other).await).contains("has 4 bytes"));
    }
    assert_eq!(nowhere.budget().left(), 100);
    check_never_connected(&nowhere.send_file(&file(&content)).await);
}

#[tokio::test]
async fn a_file_is_judged_like_a_message() {
    let content = written(b"x");
    let sent = async |step: Step, timeouts| {
        let server = Server::bind().await;
        let client = client(server.url("http"), timeouts);
        server.run(&[step], client.send_file(&file(&content))).await
    };
    let refused = Answer::Refused { status: 413, text: String::new() };
    assert_eq!(sent(answer("413 Too Large", ""), LONG).await, refused);
    check_unknown(&sent(answer("500 Oops", ""), LONG).await, "500");
    check_unknown(&sent(Step::AnswerAndClose(String::new()), LONG).await, "connection was lost");
    check_unknown(&sent(Step::Silence, SHORT).await, "no answer within");
    let nowhere = client("http://127.0.0.1:1".parse().unwrap(), LONG);
    let nobody = OutgoingFile { mode: SendMode::Specialist, ..file(&content) };
    let answer = nowhere.send_file(&nobody).await;
    assert!(matches!(answer, Answer::Refused { status: 400, .. }), "{answer:?}");
}

#[tokio::test]
async fn a_file_has_more_time_than_a_message() {
    let content = written(b"x");
    let server = Server::bind().await;
    let client = client(server.url("http"), SHORT);
    let began = std::time::Instant::now();
    let sent = server.run(&[Step::Silence], client.send_file(&file(&content))).await;
    check_unknown(&sent, "no answer within");
    assert!(began.elapsed() >= SHORT.file, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_file_whose_deadline_came_is_not_begun() {
    let content = written(b"x");
    // In time for the permit, too late on the connection.
    for looks in [&[4][..], &[3, 4][..]] {
        let server = Server::bind().await;
        let client = client_at(server.url("http"), LONG, Looks::at(looks));
        assert_eq!(server.run(&[], client.send_file(&file(&content))).await, too_late());
        assert_eq!(server.requests(), Vec::<String>::new());
        assert_eq!(client.budget().left(), 100, "the platform has not counted it");
    }
}

/// How long the body of a request is said to be, if its head arrives, and how much of it comes; reads
/// without keeping anything.
async fn measure(socket: &mut TcpStream) -> (Option<usize>, usize) {
    let (mut head, mut body) = (Vec::new(), 0);
    let mut chunk = vec![0; 64 * 1_024];
    let mut length = None;
    loop {
        let read = socket.read(&mut chunk).await.unwrap_or(0);
        if length.is_some() {
            body += read;
        } else {
            head.extend_from_slice(&chunk[..read]);
            let text = String::from_utf8_lossy(&head).to_lowercase();
            if let Some((before, _)) = text.split_once("\r\n\r\n") {
                let found = before.lines().find_map(|l| l.strip_prefix("content-length: "));
                length = Some(found.unwrap().parse::<usize>().unwrap());
                body = head.len() - before.len() - 4;
            }
        }
        if read == 0 || length.is_some_and(|length| body >= length) {
            return (length, body);
        }
    }
}

/// The most memory that this process ever had, in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_large_file_is_never_whole_in_memory() {
    const BYTES: u64 = 256 * 1_024 * 1_024;
    let content = tempfile::NamedTempFile::new().unwrap();
    // Sparse: it takes no room on the disk.
    content.as_file().set_len(BYTES).unwrap();
    let server = Server::bind().await;
    let client = client(server.url("http"), LONG);
    let before = peak_kib();
    let outgoing = file(&content);
    let ((length, read), sent) = tokio::join!(
        async {
            let (mut socket, _) = server.listener.accept().await.unwrap();
            let measured = measure(&mut socket).await;
            socket.write_all(OK.as_bytes()).await.unwrap();
            measured
        },
        client.send_file(&outgoing)
    );
    assert_eq!((sent, Some(read)), (Answer::Done, length));
    assert!(read > usize::try_from(BYTES).unwrap() && read < 2_000 + (256 << 20));
    let grown = peak_kib() - before;
    assert!(grown < 16 * 1_024, "it took {grown} KiB more");
}

#[tokio::test]
async fn a_file_that_becomes_shorter_meanwhile_is_never_a_whole_form() {
    const BYTES: u64 = 64 * 1_024 * 1_024;
    let content = tempfile::NamedTempFile::new().unwrap();
    content.as_file().set_len(BYTES).unwrap();
    let server = Server::bind().await;
    let client = client(server.url("http"), LONG);
    let outgoing = file(&content);
    let ((length, read), sent) = tokio::join!(
        async {
            let (mut socket, _) = server.listener.accept().await.unwrap();
            // Cut while the client waits for us to read.
            socket.readable().await.unwrap();
            content.as_file().set_len(1_024).unwrap();
            measure(&mut socket).await
        },
        client.send_file(&outgoing)
    );
    // Where the client was quicker to see it than the socket to be read, not even the head arrives.
    assert!(length.is_none_or(|length| read < length), "{read} of {length:?}");
    check_unknown(&sent, "the file became shorter");
}
