//! New configurations while running: a changed file or SIGHUP, read, validated, and told key by key.
//!
//! Laws: a file that cannot be used changes nothing, and is told once; what is yielded is valid. A `ConfigMap` is noticed
//! too: the kubelet swaps a symlink, so content is compared and not the file's own times.
//!
//! Not here: applying. The receiver compares with what it runs, by [`changes`].

use std::{sync::Arc, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use veneur_config::{Role, Secrets, changes};

/// How often the file is read. It is a few kilobytes, and in memory.
const POLL: Duration = Duration::from_secs(1);

/// Watches `file` in `tasks` until `stop`. The receiver holds `running` first, and then each valid configuration that
/// differs from the one before. Keys that need a restart are in it too: who applies it takes those that are live.
pub fn watch<T: Role + Send + Sync + 'static>(
    file: String,
    running: Arc<T>,
    read: impl Fn(&str) -> anyhow::Result<T> + Send + 'static,
    stop: CancellationToken,
    tasks: &mut JoinSet<anyhow::Result<()>>,
) -> anyhow::Result<watch::Receiver<Arc<T>>> {
    let hangup = signal(SignalKind::hangup())?;
    let (sender, receiver) = watch::channel(running);
    tasks.spawn(follow(file, read, hangup, sender, stop));
    Ok(receiver)
}

/// Heeds SIGHUP in `tasks` until `stop` where there is no file: it must not end the process.
pub fn nothing_to_read(stop: CancellationToken, tasks: &mut JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    tasks.spawn(async move {
        while let Some(Some(())) = stop.run_until_cancelled(hangup.recv()).await {
            tracing::info!("SIGHUP: there is no file to read again, the configuration stays");
        }
        Ok(())
    });
    Ok(())
}

async fn follow<T: Role>(
    file: String,
    read: impl Fn(&str) -> anyhow::Result<T>,
    mut hangup: Signal,
    sender: watch::Sender<Arc<T>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut poll = interval(POLL);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Nothing seen yet: what changed between the start's reading and now is noticed by the first look.
    let mut seen = None;
    loop {
        let told = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            Some(()) = hangup.recv() => true,
            _ = poll.tick() => false,
        };
        let now = tokio::fs::read(&file).await.ok();
        // Between the removal of a file and its return nothing is known.
        if !told && (now == seen || now.is_none()) {
            continue;
        }
        seen = now;
        match read(&file) {
            Ok(new) => offer(&file, new, told, &sender),
            Err(error) => tracing::warn!(file, "The changed configuration is not used: {error:#}"),
        }
    }
}

/// Says what changes, and passes it on.
fn offer<T: Role>(file: &str, new: T, told: bool, sender: &watch::Sender<Arc<T>>) {
    let reload = changes(&**sender.borrow(), &new);
    if reload.is_empty() {
        if told {
            tracing::info!(file, "The configuration is as before");
        }
        return;
    }
    tracing::debug!(config = veneur_config::yaml(&new, Secrets::Redacted), "New configuration");
    for key in &reload.live {
        tracing::info!(file, key, "Configuration changed");
    }
    for key in &reload.restart {
        tracing::warn!(file, key, "Configuration changed, and this key takes a restart");
    }
    sender.send_replace(Arc::new(new));
}

#[cfg(test)]
mod tests {
    use veneur_config::Server;

    use super::*;
    use crate::settings;

    fn from_file(file: &str) -> anyhow::Result<Server> {
        settings::server(Some(file), &|_| None, false)
    }

    const LONG: Duration = Duration::from_secs(20);

    /// A `ConfigMap` as the kubelet mounts it: the file is a link through a link that is swapped.
    fn swap(folder: &std::path::Path, version: &str, text: &str) {
        let data = folder.join(version);
        std::fs::create_dir(&data).expect("a folder");
        std::fs::write(data.join("veneur.yaml"), text).expect("a file");
        let link = folder.join("..data_tmp");
        std::os::unix::fs::symlink(&data, &link).expect("a link");
        std::fs::rename(&link, folder.join("..data")).expect("the swap");
    }

    #[tokio::test]
    async fn a_swapped_config_map_is_taken_and_a_bad_one_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        swap(folder.path(), "one", "percentiles: [0.5]");
        let file = folder.path().join("veneur.yaml");
        std::os::unix::fs::symlink("..data/veneur.yaml", &file).expect("a link");
        let file = file.to_str().expect("a name in UTF-8").to_owned();

        let read = from_file;
        let running = Arc::new(read(&file).expect("valid"));
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        let mut receiver = watch(file, running, read, stop.clone(), &mut tasks).expect("a signal");

        swap(folder.path(), "two", "percentiles: [2]");
        swap(folder.path(), "three", "percentiles: [0.5, 0.9]\nnum_readers: 3");
        tokio::time::timeout(LONG, receiver.changed()).await.expect("noticed in time").expect("still watching");
        let new = receiver.borrow_and_update().clone();
        assert_eq!((new.percentiles.as_slice(), new.num_readers), (&[0.5, 0.9][..], 3));
        stop.cancel();
        tasks.join_next().await.expect("one task").expect("no panic").expect("no error");
    }

    #[tokio::test]
    async fn a_bad_file_keeps_the_configuration_until_it_is_mended() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let path = file.path().to_str().expect("a name in UTF-8").to_owned();
        let (reads, mut read_so_far) = watch::channel(0);
        let read = move |file: &str| {
            let read = from_file(file);
            reads.send_modify(|count| *count += 1);
            read
        };
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        let mut receiver =
            watch(path.clone(), Arc::new(Server::default()), read, stop.clone(), &mut tasks).expect("a signal");
        std::fs::write(&path, "interval: 10s\npercentiles: [7]").expect("written");
        tokio::time::timeout(LONG, read_so_far.wait_for(|count| *count > 0)).await.expect("in time").expect("read");
        assert!(!receiver.has_changed().expect("still watching"), "a bad file was taken");
        std::fs::write(&path, "percentiles: [0.7]").expect("written");
        tokio::time::timeout(LONG, receiver.changed()).await.expect("noticed in time").expect("still watching");
        assert_eq!(receiver.borrow().percentiles, [0.7]);
        stop.cancel();
        tasks.join_next().await.expect("one task").expect("no panic").expect("no error");
    }
}
