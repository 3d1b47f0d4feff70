//! Short jobs on the threads that speak gRPC.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ocelli_index::Scratch;
use tokio::runtime::{Handle, RuntimeFlavor};

use super::{Queue, Shared};

/// How long short jobs run between two looks at the sockets, if several wait. A look costs half a
/// search, and answers go out together. With more time, requests would wait in the sockets, where
/// admission does not see them, until they are too old.
const BETWEEN_LOOKS: Duration = Duration::from_micros(500);

/// If a short job comes within this time after the last helper has ended, the next one will
/// probably come soon, too: then the helper watches the sockets for [`WATCH`].
const SOON: Duration = Duration::from_micros(250);

/// How long a helper watches the sockets after the last answer. A client on the same machine that
/// asks one query after the other takes half of this or less.
const WATCH: Duration = Duration::from_micros(100);

/// If a look at the sockets takes this long although no job runs, others want the core. Then no
/// helper watches for [`UNWATCHED`]: a thread that never sleeps has to wait for its turn.
const SHARED_CORE: Duration = Duration::from_millis(1);
const UNWATCHED: Duration = Duration::from_millis(100);

/// The result of [`Shared::help_once`].
enum Helped {
    /// A job was run, and others wait.
    Job,
    /// The last job was run.
    LastJob,
    /// There was no job to run, and the helper stays.
    Nothing,
    /// There was no job to run, and the helper has ended.
    Done,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Shared {
    /// Whether a helper that starts `now` may watch the sockets after its last job.
    pub(super) fn watches(queue: &Queue, now: Instant) -> bool {
        queue.helped.is_some_and(|helped| now < helped + SOON)
            && queue.crowded.is_none_or(|crowded| now > crowded + UNWATCHED)
    }

    /// Runs short jobs as long as there are some, with the buffers of its present thread. Before
    /// the first job and after a few, it lets the sockets be read: requests that have arrived join
    /// the queue or are refused before the next search.
    ///
    /// If it `watches`, it looks at the sockets for a while after the last job. A thread that
    /// sleeps takes as long to wake up as half a search, and finds less in its caches. This is done
    /// only where one thread speaks gRPC: of several, one waits for all sockets.
    pub(super) async fn help(self: Arc<Self>, watches: bool) {
        let alone = Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread;
        let mut watches = watches && alone;
        // The last answer, and the last look if there was no job to run.
        let (mut answered, mut idle) = (None::<Instant>, None::<Instant>);
        loop {
            // The first yield reads the sockets; the second yield handles the requests.
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            let looked = Instant::now();
            if idle.take().is_some_and(|before| looked > before + SHARED_CORE) {
                watches = false;
                self.lock().crowded = Some(looked);
            }
            let watch = watches && answered.is_some_and(|answered| looked < answered + WATCH);
            loop {
                match self.help_once(watch) {
                    Helped::Job if looked.elapsed() < BETWEEN_LOOKS => continue,
                    Helped::Job => {}
                    Helped::LastJob => answered = Some(Instant::now()),
                    Helped::Nothing => idle = Some(looked),
                    Helped::Done => return,
                }
                break;
            }
        }
    }

    /// Runs the first job, if it is short. If there is no job at all and none runs, the helper ends
    /// unless it `stays`.
    fn help_once(&self, stays: bool) -> Helped {
        let mut queue = self.lock();
        SCRATCH.with_borrow_mut(|scratch| {
            let helps = loop {
                if queue.running >= self.threads {
                    queue.left |= !queue.jobs.is_empty();
                    break false;
                }
                // Jobs behind a long job are for the thread that takes the long job.
                let Some(job) = queue.pop(|job| job.short) else { break false };
                let ran;
                (queue, ran) = self.run(job, scratch, queue);
                // A job that was given up took no time.
                if ran {
                    break true;
                }
            };
            if !helps {
                if stays && queue.jobs.is_empty() && queue.running == 0 {
                    return Helped::Nothing;
                }
                queue.helpers -= 1;
                queue.helped = Some(Instant::now());
            }
            self.hand_over(&mut queue);
            match (helps, queue.jobs.is_empty()) {
                (true, false) => Helped::Job,
                (true, true) => Helped::LastJob,
                (false, _) => Helped::Done,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn helpers_watch_if_jobs_come_soon_after_each_other_and_nobody_else_wants_the_core() {
        let (start, mut queue) = (Instant::now(), Queue::default());
        assert!(!Shared::watches(&queue, start), "the first job");
        queue.helped = Some(start);
        assert!(Shared::watches(&queue, start + SOON / 2));
        assert!(!Shared::watches(&queue, start + SOON));
        queue.crowded = Some(start);
        assert!(!Shared::watches(&queue, start + SOON / 2));
        queue.helped = Some(start + UNWATCHED);
        assert!(Shared::watches(&queue, start + UNWATCHED + SOON / 2));
    }
}
