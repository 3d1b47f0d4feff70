//! A bounded pipeline of threads whose results come out in the order of its inputs.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::error::{Error, Result};

/// Items in flight for each worker: one in work, one waiting so that nobody idles, and two finished
/// ones behind a slow neighbour. It bounds the memory, which is that of the decoded images.
const IN_FLIGHT_PER_WORKER: usize = 4;

/// Runs `work` over everything that `feed` hands out, on one thread for each of `workers`, and
/// hands the results to `sink` in the order of the inputs, on the calling thread.
///
/// `feed` runs on a thread of its own and gets a function that takes one item and says whether to
/// go on; it waits while too much is in flight. `start` runs once on each worker's thread.
///
/// # Errors
/// The first error of any of them; so does a panic. Nothing waits for ever: when one ends, all end.
pub(super) fn run_ordered<W, T, R>(
    workers: Vec<W>,
    start: impl Fn() + Sync,
    feed: impl FnOnce(&mut dyn FnMut(T) -> ControlFlow<()>) -> Result<()> + Send,
    work: impl Fn(&mut W, T) -> Result<R> + Sync,
    mut sink: impl FnMut(R) -> Result<()>,
) -> Result<()>
where
    W: Send,
    T: Send,
    R: Send,
{
    let count = workers.len();
    if count == 0 {
        return Err(Error::invalid("no worker thread: expected at least 1"));
    }
    let in_flight = count.saturating_mul(IN_FLIGHT_PER_WORKER);
    // A token is taken for each item handed out and given back when its result has left.
    let (token_back, tokens) = bounded::<()>(in_flight);
    for _ in 0..in_flight {
        // There is room for all of them and the receiver is here.
        let _ = token_back.send(());
    }
    let (hand_out, take) = bounded::<(u64, T)>(in_flight);
    let (report, reports) = unbounded::<Report<R>>();

    thread::scope(|scope| {
        // Owned by this closure, so that they close before the scope waits for its threads. Threads
        // that still send or wait end then.
        let (reports, token_back) = (reports, token_back);
        let feeder_report = report.clone();
        scope.spawn(move || {
            let fed = guarded("the thread that reads the input", || {
                hand_out_all(feed, &tokens, &hand_out)
            });
            // The receiver is gone only if the job has failed already.
            let _ = feeder_report.send(match fed {
                Ok(total) => Report::Total(total),
                Err(e) => Report::Failed(e),
            });
        });
        for mut worker in workers {
            let (report, take, start, work) = (report.clone(), take.clone(), &start, &work);
            scope.spawn(move || {
                let done = guarded("a worker thread", || {
                    start();
                    work_all(&mut worker, &take, work, &report);
                    Ok(())
                });
                if let Err(e) = done {
                    let _ = report.send(Report::Failed(e));
                }
            });
        }
        drop((report, take));
        collect(&reports, &token_back, &mut sink)
    })
}

/// A message from a thread to the collector.
enum Report<R> {
    /// The result of the item with this number.
    Done(u64, R),
    /// Everything was handed out: this many items.
    Total(u64),
    /// The job cannot be completed.
    Failed(Error),
}

/// Feeds the workers; returns the number of items.
fn hand_out_all<T>(
    feed: impl FnOnce(&mut dyn FnMut(T) -> ControlFlow<()>) -> Result<()>,
    tokens: &Receiver<()>,
    hand_out: &Sender<(u64, T)>,
) -> Result<u64> {
    let mut next = 0;
    feed(&mut |item| {
        // Either end is closed only after a failure that somebody else reports.
        if tokens.recv().is_err() || hand_out.send((next, item)).is_err() {
            return ControlFlow::Break(());
        }
        next += 1;
        ControlFlow::Continue(())
    })?;
    Ok(next)
}

/// Works until there is no more, or nobody collects.
fn work_all<W, T, R>(
    worker: &mut W,
    take: &Receiver<(u64, T)>,
    work: impl Fn(&mut W, T) -> Result<R>,
    report: &Sender<Report<R>>,
) {
    for (number, item) in take {
        let message = match work(worker, item) {
            Ok(result) => Report::Done(number, result),
            Err(e) => Report::Failed(e),
        };
        if report.send(message).is_err() {
            return;
        }
    }
}

/// Puts the results into order.
fn collect<R>(
    reports: &Receiver<Report<R>>,
    token_back: &Sender<()>,
    sink: &mut impl FnMut(R) -> Result<()>,
) -> Result<()> {
    let mut early = BTreeMap::new();
    let (mut next, mut total) = (0, None);
    while total != Some(next) {
        match reports.recv() {
            Ok(Report::Done(number, result)) => {
                early.insert(number, result);
                while let Some(result) = early.remove(&next) {
                    sink(result)?;
                    next += 1;
                    // The feeder may be done and gone.
                    let _ = token_back.send(());
                }
            }
            Ok(Report::Total(count)) => total = Some(count),
            Ok(Report::Failed(e)) => return Err(e),
            Err(_) => return Err(Error::invalid("the worker threads ended early")),
        }
    }
    Ok(())
}

/// Turns a panic of `run` into an error.
fn guarded<R>(who: &str, run: impl FnOnce() -> Result<R>) -> Result<R> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        Err(Error::invalid(format!("{who} panicked: {}", ocelli_text::panic_text(panic.as_ref()))))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    fn numbers(n: u64) -> impl FnOnce(&mut dyn FnMut(u64) -> ControlFlow<()>) -> Result<()> + Send {
        move |take| {
            let _ = (0..n).try_for_each(take);
            Ok(())
        }
    }

    /// Item 0 is the slowest of all: the others overtake it, but not by more than is allowed in
    /// flight, and everything still comes out in order.
    #[test]
    fn order_is_kept_and_memory_bounded() {
        let finished = AtomicUsize::new(0);
        let mut out = Vec::new();
        run_ordered(
            vec![(); 3],
            || {},
            numbers(200),
            |(), i| {
                if i == 0 {
                    thread::sleep(Duration::from_millis(200));
                    assert!(finished.load(Ordering::SeqCst) < 3 * IN_FLIGHT_PER_WORKER);
                }
                finished.fetch_add(1, Ordering::SeqCst);
                Ok(i)
            },
            |i| {
                out.push(i);
                Ok(())
            },
        )
        .unwrap();
        assert_eq!(out, (0..200).collect::<Vec<_>>());
    }

    /// Each thread in turn fails or panics in the middle: the error comes out and nothing hangs.
    #[test]
    fn failures_and_panics_end_the_job() {
        let boom = |i: u64| {
            if i == 50 { Err(Error::invalid("boom")) } else { Ok(i) }
        };
        let panicking = |i: u64| {
            assert!(i != 50, "boom");
            Ok(i)
        };
        let message = |r: Result<()>| r.unwrap_err().to_string();
        let all = || numbers(10_000);
        let ok = |_: u64| Ok(());
        assert!(
            message(run_ordered(vec![(); 2], || {}, all(), |(), i| boom(i), ok)).contains("boom")
        );
        let sunk = run_ordered(vec![(); 2], || {}, all(), |(), i| Ok(i), |i| boom(i).map(drop));
        assert!(message(sunk).contains("boom"));
        for workers in [1, 2] {
            let worked = run_ordered(vec![(); workers], || {}, all(), |(), i| panicking(i), ok);
            assert!(message(worked).contains("a worker thread panicked: boom"));
        }
        let started = run_ordered(vec![(); 2], || panic!("boom"), all(), |(), i| Ok(i), ok);
        assert!(message(started).contains("panicked: boom"));
        let fed = run_ordered(
            vec![(); 2],
            || {},
            |take: &mut dyn FnMut(u64) -> ControlFlow<()>| {
                let _ = take(0);
                panic!("boom")
            },
            |(), i| Ok(i),
            ok,
        );
        assert!(message(fed).contains("reads the input panicked: boom"));
    }
}
