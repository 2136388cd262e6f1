//! A wire between two parts that can be cut so that neither of them is told.

use std::net::SocketAddr;

use freeline::lifecycle::Tasks;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Bytes passed on at once.
const PIECE: usize = 16 * 1024;

/// Passes everything on until it is cut. Connections of before a cut, and of a cut, stay open and
/// dead for ever: as behind a firewall that forgot them.
pub(crate) struct Proxy {
    address: SocketAddr,
    /// Counts cuts and repairs: odd while it is cut.
    cuts: watch::Sender<u64>,
    tasks: Tasks,
}

impl Proxy {
    /// Passes on to `target`.
    pub(crate) async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (cuts, cut) = watch::channel(0);
        let tasks = Tasks::new();
        let connections = tasks.clone();
        tasks.spawn("proxy", async move {
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = connections.stopping() => return,
                };
                let (near, _) = accepted.expect("a connection");
                let (cut, tasks) = (cut.clone(), connections.clone());
                connections.spawn("wire", async move {
                    tokio::select! {
                        () = join(near, target, cut) => {}
                        () = tasks.stopping() => {}
                    }
                });
            }
        });
        Self { address, cuts, tasks }
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Nothing passes any more, and nobody is told.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// New connections pass.
    pub(crate) fn repair(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

/// One connection; it stays open after a cut.
async fn join(near: TcpStream, target: SocketAddr, mut cut: watch::Receiver<u64>) {
    // From here on a change is one that this connection does not survive.
    if *cut.borrow_and_update() % 2 == 1 {
        std::future::pending::<()>().await;
    }
    let Ok(far) = TcpStream::connect(target).await else { return };
    near.set_nodelay(true).expect("an option");
    far.set_nodelay(true).expect("an option");
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    tokio::join!(pass(near_in, far_out, cut.clone()), pass(far_in, near_out, cut));
}

/// One direction, until its sender ends it.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut cut: watch::Receiver<u64>) {
    let mut piece = vec![0; PIECE];
    loop {
        let read = tokio::select! {
            read = from.read(&mut piece) => read,
            _ = cut.changed() => std::future::pending().await,
        };
        let Ok(length @ 1..) = read else { break };
        if to.write_all(&piece[..length]).await.is_err() {
            break;
        }
    }
    to.shutdown().await.ok();
}
