//! A PostgreSQL server of a test's own, to be stopped, killed and filled up.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tempfile::TempDir;

/// Ports that are tried before the test gives up.
const TRIES: usize = 5;
/// Connections that it takes: few, so that they are soon used up.
const CONNECTIONS: usize = 40;
/// The largest of its files while its disk is "full": its log's segments still fit.
const FULL_AT_BYTES: u64 = 2 * 1024 * 1024;

/// A server in a folder of its own, on 127.0.0.1; it ends with this value.
pub(crate) struct PostgresServer {
    bin: PathBuf,
    home: TempDir,
    port: u16,
}

/// How it is stopped.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stop {
    /// Every session is ended and what it did is rolled back.
    Fast,
    /// As by a loss of power: the next start recovers from the log.
    Crash,
}

impl PostgresServer {
    /// With an empty database `service` that the role `service` owns.
    pub(crate) async fn start() -> Self {
        let bin = newest_bin();
        // In /tmp whatever TMPDIR says: the path of a socket has at most 107 characters.
        let home = tempfile::Builder::new().prefix("freeline-pg.").tempdir_in("/tmp");
        let mut server = Self { bin, home: home.expect("a folder"), port: 0 };
        tokio::task::block_in_place(|| server.make());
        let mut admin = server.admin().await;
        for statement in [
            "CREATE ROLE service LOGIN PASSWORD 'service'",
            "CREATE ROLE others LOGIN",
            "CREATE DATABASE service OWNER service",
        ] {
            sqlx::raw_sql(statement).execute(&mut admin).await.expect(statement);
        }
        server
    }

    fn make(&mut self) {
        let home = self.home.path();
        if is_root() {
            let owned = Command::new("chown").arg("postgres").arg(home).status();
            assert!(owned.expect("chown runs").success());
        }
        let data = self.data();
        let data = data.to_str().expect("a plain path");
        // Small files of the log, so that a small disk holds some.
        let words = ["--username=admin", "--auth=trust", "--no-sync", "--encoding=UTF8"];
        let words = [&words[..], &["--locale=C", "--wal-segsize=1", "--pgdata", data]].concat();
        assert!(self.call("initdb", &words), "initdb");
        for _ in 0..TRIES {
            let free =
                TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr());
            self.port = free.expect("a free port").port();
            if self.call_start() {
                return;
            }
        }
        panic!("PostgreSQL does not start: {}", self.log());
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }

    fn call_start(&self) -> bool {
        let (data, home) = (self.data(), self.home.path().display().to_string());
        // Nothing here loses power, so nothing need wait for the disk.
        let options = format!(
            "-c listen_addresses=127.0.0.1 -c port={} -c unix_socket_directories={home} \
             -c max_connections={CONNECTIONS} -c shared_buffers=16MB -c fsync=off",
            self.port
        );
        let log = format!("--log={home}/log");
        let data = data.to_str().expect("a plain path");
        self.call(
            "pg_ctl",
            &["start", "--wait", "--silent", "--pgdata", data, &log, "-o", &options],
        )
    }

    /// Runs one of its programs as the user that it wants; PostgreSQL refuses to be run by root.
    fn call(&self, program: &str, words: &[&str]) -> bool {
        let program = self.bin.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        let output = std::process::Stdio::null;
        let command = command.args(words).current_dir(self.home.path());
        let ended = command.stdin(output()).stdout(output()).stderr(output()).status();
        ended.expect("a program of PostgreSQL runs").success()
    }

    /// Starts it again, on the same port.
    pub(crate) fn run(&self) {
        let started = tokio::task::block_in_place(|| self.call_start());
        assert!(started, "PostgreSQL does not start: {}", self.log());
    }

    /// Stops it.
    pub(crate) fn stop(&self, how: Stop) {
        let mode = match how {
            Stop::Fast => "--mode=fast",
            Stop::Crash => "--mode=immediate",
        };
        let data = self.data();
        let words =
            ["stop", "--wait", "--silent", mode, "--pgdata", data.to_str().expect("a path")];
        let stopped = tokio::task::block_in_place(|| self.call("pg_ctl", &words));
        assert!(stopped, "PostgreSQL does not stop: {}", self.log());
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The address of the service's database.
    pub(crate) fn url(&self) -> String {
        Self::url_at(self.port)
    }

    /// The same, behind something else that listens.
    pub(crate) fn url_at(port: u16) -> String {
        format!("postgres://service:service@127.0.0.1:{port}/service?sslmode=disable")
    }

    /// A session of its administrator in the service's database, or in another one before that is
    /// made.
    pub(crate) async fn admin(&self) -> PgConnection {
        let address = |database| format!("postgres://admin@127.0.0.1:{}/{database}", self.port);
        match PgConnection::connect(&address("service")).await {
            Ok(admin) => admin,
            Err(_) => PgConnection::connect(&address("postgres")).await.expect("a session"),
        }
    }

    /// A session of somebody else; `None` when there is no connection left.
    pub(crate) async fn others(&self) -> Option<PgConnection> {
        let address = format!("postgres://others@127.0.0.1:{}/service", self.port);
        PgConnection::connect(&address).await.ok()
    }

    /// Ends every session of the service; answers how many there were.
    pub(crate) async fn end_sessions(&self, admin: &mut PgConnection) -> i64 {
        let ended: (i64,) = sqlx::query_as(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
             WHERE usename = 'service'",
        )
        .fetch_one(admin)
        .await
        .expect("an administrator may do that");
        ended.0
    }

    /// A session that is in a transaction, has run `statement`, and then stands still.
    pub(crate) async fn idle_in(&self, statement: &str) -> PgConnection {
        let mut session = self.admin().await;
        for statement in ["BEGIN", statement] {
            let statement = AssertSqlSafe(statement.to_owned());
            sqlx::raw_sql(statement).execute(&mut session).await.expect("a lock");
        }
        session
    }

    /// Fills its disk up, or gives room again: a limit on files reads as a full disk and needs no
    /// privilege, unlike a small one that is mounted.
    pub(crate) async fn fill_disk(&self, full: bool) {
        let file = std::fs::read_to_string(self.data().join("postmaster.pid")).expect("it runs");
        let mut processes = vec![file.lines().next().expect("its process").to_owned()];
        let sessions: Vec<(i32,)> =
            sqlx::query_as("SELECT pid FROM pg_stat_activity WHERE usename = 'service'")
                .fetch_all(&mut self.admin().await)
                .await
                .expect("its sessions");
        processes.extend(sessions.iter().map(|(process,)| process.to_string()));
        for process in processes {
            let user = is_root().then_some("postgres");
            limit_files(&process, full.then_some(FULL_AT_BYTES), user);
        }
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        let data = self.data();
        if data.join("postmaster.pid").exists() {
            let data = data.to_str().unwrap_or_default();
            self.call(
                "pg_ctl",
                &["stop", "--wait", "--silent", "--mode=immediate", "--pgdata", data],
            );
        }
    }
}

/// Limits the size of the files that a process of `user` writes; `None` takes the limit away. A
/// process that has ended meanwhile needs none.
pub(crate) fn limit_files(process: &str, bytes: Option<u64>, user: Option<&str>) {
    let soft = bytes.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
    let limit = format!("--fsize={soft}:");
    let words = ["prlimit", "--pid", process, &limit];
    // Root in a container may not do that to everybody, and everybody to himself.
    let mut command = if let Some(user) = user {
        let mut command = Command::new("runuser");
        command.args(["-u", user, "--"]).args(words);
        command
    } else {
        let mut command = Command::new("prlimit");
        command.args(&words[1..]);
        command
    };
    let set = command.stderr(std::process::Stdio::null()).status();
    let gone = !Path::new("/proc").join(process).exists();
    assert!(set.expect("prlimit runs").success() || gone, "the limit of {process}");
}

fn newest_bin() -> PathBuf {
    let version = |path: &Path| -> Option<u32> { path.file_name()?.to_str()?.parse().ok() };
    let installed = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed");
    let newest =
        installed.filter_map(|entry| Some(entry.ok()?.path())).max_by_key(|path| version(path));
    newest.expect("PostgreSQL; tests/run installs it").join("bin")
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().expect("id runs");
    output.stdout.starts_with(b"0\n")
}
