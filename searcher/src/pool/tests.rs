use std::sync::atomic::AtomicUsize;
use std::sync::mpsc;
use std::task::Poll;

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::*;

/// The size of a job for a thread, not for the task that queues it.
const LONG_WORK: Work = Work { queries: 1, codes: usize::MAX };
const SHORT_WORK: Work = Work { queries: 1, codes: 10 };
const LONG: Duration = Duration::from_secs(60);

/// Blocks the only thread of a pool until the sender is used or dropped.
async fn blocked(pool: &Arc<Pool>) -> (mpsc::Sender<()>, tokio::task::JoinHandle<()>) {
    let (release, blocked) = mpsc::channel::<()>();
    let (started, has_started) = oneshot::channel();
    let pool = Arc::clone(pool);
    let blocker = tokio::spawn(async move {
        let job = pool.run(LONG_WORK, move |_| {
            let _ = started.send(());
            let _ = blocked.recv();
        });
        job.await.expect("the blocking job runs");
    });
    has_started.await.expect("the blocking job starts");
    (release, blocker)
}

/// One thread, one waiting place. A job that blocks the thread makes every state reachable without
/// sleeping: the next job waits, the one after it is refused; the one whose future is dropped is
/// passed by.
#[tokio::test]
async fn a_full_queue_refuses_and_an_abandoned_job_never_runs() -> Result<()> {
    let pool = Arc::new(Pool::new(1, 1, LONG)?);
    let (release, blocker) = blocked(&pool).await;
    let runs = Arc::new(AtomicUsize::new(0));
    let count = |runs: &Arc<AtomicUsize>| {
        let runs = Arc::clone(runs);
        move |_: &mut Scratch| runs.fetch_add(1, Ordering::SeqCst)
    };
    let mut waiting = Box::pin(pool.run(LONG_WORK, count(&runs)));
    let refused = tokio::select! {
        biased;
        _ = &mut waiting => panic!("the only thread is blocked"),
        refused = pool.run(LONG_WORK, count(&runs)) => refused,
    };
    assert_eq!(refused.expect_err("the queue is full").code, Code::ResourceExhausted);
    assert!(pool.admits().is_err());
    drop(waiting);
    drop(release);
    blocker.await.expect("no panic");

    // FIFO: when this one has run, the abandoned one has been passed by.
    while pool.admits().is_err() {
        tokio::task::yield_now().await;
    }
    pool.run(LONG_WORK, count(&runs)).await?;
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    Ok(())
}

/// From the first refusal until the queue is empty, there is less room.
#[tokio::test]
async fn who_has_refused_keeps_a_short_queue_until_it_was_empty() -> Result<()> {
    const ROOM: usize = QUEUED_WHILE_SHEDDING + 8;
    let pool = Arc::new(Pool::new(1, ROOM, LONG)?);
    let (release, blocker) = blocked(&pool).await;
    // The fifth and the eleventh job block the thread, too.
    let mut gates = Vec::new();
    let mut waiting = Vec::new();
    for number in 0..ROOM {
        let (started, has_started) = oneshot::channel();
        let (open, gate) = mpsc::channel::<()>();
        let mut job = Box::pin(pool.run(LONG_WORK, move |_| {
            let _ = started.send(());
            let _ = gate.recv();
        }));
        assert!(pool.admits().is_ok() && !poll_once(&mut job).await);
        waiting.push(job);
        if number == 4 || number == 10 {
            gates.push((open, has_started));
        }
    }
    assert_eq!(pool.admits(), Err(Full::Places));
    drop(release);
    blocker.await.expect("no panic");
    let [(fifth, fifth_runs), (eleventh, eleventh_runs)] = gates.try_into().expect("two");
    fifth_runs.await.expect("it runs");
    assert_eq!(pool.shared.lock().jobs.len(), QUEUED_WHILE_SHEDDING + 3);
    assert_eq!(pool.admits(), Err(Full::Places));
    drop(fifth);
    eleventh_runs.await.expect("it runs");
    assert_eq!(pool.shared.lock().jobs.len(), QUEUED_WHILE_SHEDDING - 3);
    assert_eq!(pool.admits(), Ok(()));
    assert!(pool.shared.lock().shedding);
    drop(eleventh);
    for job in waiting {
        job.await?;
    }
    assert!(!pool.shared.lock().shedding);
    Ok(())
}

/// Polls a future once.
async fn poll_once<F: Future>(future: &mut std::pin::Pin<Box<F>>) -> bool {
    std::future::poll_fn(|task| Poll::Ready(future.as_mut().poll(task).is_ready())).await
}

#[tokio::test]
async fn a_short_job_runs_where_it_was_brought_and_a_long_one_does_not() -> Result<()> {
    let pool = Pool::new(1, 10, LONG)?;
    let here = thread::current().id();
    let ran_on = |_: &mut Scratch| thread::current().id();
    assert_eq!(pool.run(SHORT_WORK, ran_on).await?.0, here);
    assert_ne!(pool.run(LONG_WORK, ran_on).await?.0, here);
    // If queries take long for any reason, those with few codes are not short either.
    pool.run(LONG_WORK, |_| thread::sleep(Duration::from_millis(30))).await?;
    assert_ne!(pool.run(SHORT_WORK, ran_on).await?.0, here);
    Ok(())
}

/// Short jobs run in the order of the queue, and jobs that were given up do not run.
#[tokio::test]
async fn no_short_job_is_left_behind() -> Result<()> {
    let pool = Arc::new(Pool::new(1, 10, LONG)?);
    let order = Arc::new(Mutex::new(Vec::new()));
    let job = |number: usize| {
        let order = Arc::clone(&order);
        move |_: &mut Scratch| order.lock().push(number)
    };
    let mut jobs: Vec<_> =
        (0..4).map(|number| Box::pin(pool.run(SHORT_WORK, job(number)))).collect();
    for job in &mut jobs {
        assert!(!poll_once(job).await);
    }
    assert_eq!((pool.jobs(), pool.shared.lock().helpers), (4, 1));
    drop(jobs.remove(1));
    drop(jobs.remove(0));
    while pool.jobs() > 0 {
        tokio::task::yield_now().await;
    }
    for job in jobs {
        tokio::time::timeout(LONG, job).await.expect("in time")?;
    }
    assert_eq!(*order.lock(), [2, 3]);
    // The helper has ended, and another one starts when it is needed.
    while pool.shared.lock().helpers > 0 {
        tokio::task::yield_now().await;
    }
    pool.run(SHORT_WORK, job(5)).await?;
    assert_eq!(*order.lock(), [2, 3, 5]);
    Ok(())
}

/// A long job ends the helper, and the jobs after it are for the thread, in order.
#[tokio::test]
async fn short_jobs_behind_a_long_one_run_after_it() -> Result<()> {
    let pool = Arc::new(Pool::new(1, 100, LONG)?);
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for number in 0..60 {
        let (pool, order) = (Arc::clone(&pool), Arc::clone(&order));
        let work = if number % 5 == 3 { LONG_WORK } else { SHORT_WORK };
        tasks.push(tokio::spawn(async move {
            pool.run(work, move |_| order.lock().push(number)).await
        }));
    }
    for task in tasks {
        tokio::time::timeout(LONG, task).await.expect("in time").expect("no panic")?;
    }
    assert_eq!(*order.lock(), Vec::from_iter(0..60));
    Ok(())
}

#[tokio::test]
async fn a_short_job_waits_for_the_long_one_that_runs() -> Result<()> {
    let pool = Arc::new(Pool::new(1, 10, LONG)?);
    let (release, blocker) = blocked(&pool).await;
    let mut short = Box::pin(pool.run(SHORT_WORK, |_| 3));
    for _ in 0..3 {
        assert!(!poll_once(&mut short).await);
    }
    drop(release);
    assert_eq!(tokio::time::timeout(LONG, short).await.expect("in time")?.0, 3);
    blocker.await.expect("no panic");
    Ok(())
}

/// An admitted request is answered, however long it waits. A new request is refused at once if the
/// first in the queue has waited too long, or if it would itself wait too long.
#[tokio::test]
async fn a_queue_that_stands_still_refuses_who_comes_and_nobody_in_it() -> Result<()> {
    let pool = Arc::new(Pool::new(1, 10, Duration::from_millis(20))?);
    let (release, blocker) = blocked(&pool).await;
    let mut waiting = Box::pin(pool.run(LONG_WORK, |_| 3));
    assert!(!poll_once(&mut waiting).await);
    assert_eq!(pool.admits(), Ok(()));
    tokio::time::sleep(Duration::from_millis(40)).await;
    assert_eq!(pool.admits(), Err(Full::Time));
    drop(release);
    assert_eq!(waiting.await?.0, 3);
    blocker.await.expect("no panic");
    // The blocking job has taught the pool that queries take a ms and more: with some waiting, the
    // next would wait longer than 20 ms and is refused at once.
    let (release, blocker) = blocked(&pool).await;
    let many = Work { queries: 1000, ..LONG_WORK };
    let mut waiting = Box::pin(pool.run(many, |_| ()));
    assert!(!poll_once(&mut waiting).await);
    let refused = pool.run(LONG_WORK, |_| ()).await.expect_err("it would wait");
    assert_eq!(refused.code, Code::ResourceExhausted);
    assert!(refused.message.contains("would wait"), "{refused}");
    drop(release);
    waiting.await?;
    blocker.await.expect("no panic");
    Ok(())
}

/// The jobs of one request never wait for each other: with a limit of one millisecond, jobs of five
/// milliseconds each all run: at once and in turn, on one thread and on several. The jobs of one
/// request leave room in the queue for others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_does_not_wait_for_itself() -> Result<()> {
    for (threads, places) in [(1, 1), (1, 100), (4, 2), (4, 100)] {
        let pool = Arc::new(Pool::new(threads, places, Duration::from_millis(1))?);
        // The pool knows already how slow it is.
        pool.run(LONG_WORK, |_| thread::sleep(Duration::from_millis(5))).await?;
        while pool.jobs() > 0 {
            tokio::task::yield_now().await;
        }
        let admission = pool.admission();
        let mut jobs = JoinSet::new();
        for number in 0..100_usize {
            let (pool, admission) = (Arc::clone(&pool), admission.clone());
            jobs.spawn(async move {
                let place = admission.place().await?;
                let work = Work { queries: 1 + number % 7, ..LONG_WORK };
                let job = |_: &mut Scratch| thread::sleep(Duration::from_millis(5));
                admission.run(place, work, job).await?;
                Ok::<_, Error>(pool.jobs())
            });
        }
        let mut most = 0;
        while let Some(ended) = jobs.join_next().await {
            most = most.max(ended.expect("no panic")?);
        }
        // The jobs that run, and one that waits.
        assert!(most <= threads + 1, "{most} jobs on {threads} threads");
        drop(admission.place().await?);
        while pool.jobs() > 0 {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

/// The first job of a request is refused if others fill the queue. After its admission, its further
/// jobs wait outside while there is no room. One at a time goes in all the same, and a job that is
/// given up frees its place.
#[tokio::test]
async fn a_request_is_judged_once_by_what_others_queue() -> Result<()> {
    let pool = Arc::new(Pool::new(1, 2, LONG)?);
    let (release, blocker) = blocked(&pool).await;
    let admitted = pool.admission();
    admitted.admit()?;
    // Two jobs of others wait: the queue is full.
    let mut others = Vec::new();
    for _ in 0..2 {
        let mut job = Box::pin(pool.run(LONG_WORK, |_| ()));
        assert!(!poll_once(&mut job).await);
        others.push(job);
    }
    let refused = pool.admission().place().await.map(drop);
    assert_eq!(refused.expect_err("full").code, Code::ResourceExhausted);
    let place = admitted.place().await?;
    let mut first = Box::pin(admitted.run(place, LONG_WORK, |_| 1));
    assert!(!poll_once(&mut first).await);
    let mut second = Box::pin(admitted.place());
    assert!(!poll_once(&mut second).await);
    // A place that is not used is free for the next job.
    let mut third = Box::pin(admitted.place());
    assert!(!poll_once(&mut third).await);
    drop(release);
    assert_eq!(first.await?.0, 1);
    drop(second.await?);
    drop(tokio::time::timeout(LONG, third).await.expect("in time")?);
    blocker.await.expect("no panic");
    for job in others {
        job.await?;
    }
    Ok(())
}

/// Parts of a batch leave work for every thread, and take a tenth of a second at most.
#[tokio::test]
async fn parts_of_a_batch_are_as_long_as_others_may_wait() -> Result<()> {
    let pool = Pool::new(4, 10, LONG)?;
    assert_eq!((pool.part(10_000), pool.part(10), pool.part(1)), (FIRST_PART, 3, 1));
    for (query_ns, part) in [(1000, PART), (1_000_000, 100), (80_000_000, 1), (1 << 40, 1)] {
        pool.shared.query_ns.store(query_ns, Ordering::SeqCst);
        assert_eq!((pool.part(10_000), pool.part(4)), (part, 1), "{query_ns} ns");
    }
    Ok(())
}

#[tokio::test]
async fn a_panic_fails_its_own_query_only() -> Result<()> {
    let pool = Pool::new(1, 1, LONG)?;
    let error = pool.run(LONG_WORK, |_| panic!("a bug")).await.map(|((), _)| ());
    assert_eq!(error.expect_err("the job panics").code, Code::Internal);
    assert_eq!(pool.run(LONG_WORK, |_| 7).await?.0, 7);
    Ok(())
}
