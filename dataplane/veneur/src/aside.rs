//! A thread for long work that must not keep readers from their sockets.

use std::{
    io,
    sync::mpsc::{self, SyncSender},
    thread::JoinHandle,
};

use tokio::sync::oneshot;

/// How much further than its process the thread stands back (setpriority(2), which on Linux is of one thread): beside a reader that is always
/// busy it gets a tenth of a core, and all that readers leave. Other processes of the container are not meant, and
/// those of other containers are not concerned.
const FURTHER: i32 = 10;
/// Further back nothing stands.
const LAST: i32 = 19;

/// A thread that stands back for others of its process. Ends when it is dropped, after the work it has begun.
#[derive(Debug)]
pub(crate) struct Aside {
    work: Option<SyncSender<Work>>,
    thread: Option<JoinHandle<()>>,
}

type Work = Box<dyn FnOnce() + Send>;

impl Aside {
    pub(crate) fn start(name: &str) -> io::Result<Self> {
        let (work, waiting) = mpsc::sync_channel::<Work>(1);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            if let Err(error) = stand_back() {
                tracing::debug!(%error, "Flushes do not stand back for readers");
            }
            waiting.into_iter().for_each(|work| work());
        })?;
        Ok(Self { work: Some(work), thread: Some(thread) })
    }

    /// Does the work on the thread, and waits for what it gives. Panics if the work does.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = oneshot::channel();
        // Nobody waits any more for what was begun: it is done all the same.
        let work = Box::new(move || drop(done.send(work())));
        self.work.as_ref().and_then(|waiting| waiting.send(work).ok()).expect("the thread waits until this is dropped");
        result.await.expect("work that does not panic gives something")
    }
}

fn stand_back() -> rustix::io::Result<()> {
    let of_the_process = rustix::process::getpriority_process(None)?;
    rustix::process::setpriority_process(None, (of_the_process + FURTHER).min(LAST))
}

impl Drop for Aside {
    fn drop(&mut self) {
        drop(self.work.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the work was told where it was waited for.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_done_on_a_thread_that_stands_back() {
        let aside = Aside::start("aside").expect("a thread");
        let (name, niceness) = aside
            .run(|| {
                let name = std::thread::current().name().map(str::to_owned);
                (name, rustix::process::getpriority_process(None).expect("a niceness"))
            })
            .await;
        let own = rustix::process::getpriority_process(None).expect("a niceness");
        assert_eq!((name.as_deref(), niceness), (Some("aside"), (own + FURTHER).min(LAST)), "{own}: only that thread");
    }
}
