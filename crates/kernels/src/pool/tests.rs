use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Pool;

fn counts(pool: &Pool, tasks: usize) -> Vec<usize> {
    let counts: Vec<_> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
    pool.run(tasks, &|task| {
        counts[task].fetch_add(1, Ordering::Relaxed);
    });
    counts.into_iter().map(AtomicUsize::into_inner).collect()
}

#[test]
fn each_task_runs_once() {
    for threads in [0, 1, 2, 3, 9] {
        let pool = Pool::new(threads);
        assert_eq!(pool.threads(), threads.max(1));
        for tasks in [0, 1, 2, 7, 1000] {
            assert_eq!(counts(&pool, tasks), vec![1; tasks], "{threads} threads");
        }
    }
}

#[test]
fn many_short_regions() {
    let pool = Pool::new(4);
    let sum = AtomicUsize::new(0);
    for round in 0..2000 {
        pool.run(1 + round % 9, &|task| {
            sum.fetch_add(task + 1, Ordering::Relaxed);
        });
        if round % 500 == 0 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
    let expected: usize = (0..2000).map(|round| (1..=1 + round % 9).sum::<usize>()).sum();
    assert_eq!(sum.into_inner(), expected);
}

#[test]
fn a_panic_reaches_the_caller_and_the_pool_goes_on() {
    let pool = Pool::new(3);
    for panicking in [0, 5, 99] {
        let run = || pool.run(100, &|task| assert_ne!(task, panicking, "on purpose"));
        let panic = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
        assert!(panic.downcast_ref::<String>().unwrap().contains("on purpose"));
        assert_eq!(counts(&pool, 50), vec![1; 50]);
    }
}

#[test]
fn callers_take_turns_and_nested_regions_run() {
    let pool = Pool::new(2);
    let sum = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    pool.run(4, &|_| {
                        pool.run(3, &|_| {
                            sum.fetch_add(1, Ordering::Relaxed);
                        });
                    });
                }
            });
        }
    });
    assert_eq!(sum.into_inner(), 4 * 200 * 4 * 3);
}

#[test]
fn a_worker_that_is_slow_once_is_used_again() {
    let pool = Pool::new(2);
    let caller = std::thread::current().id();
    let by_worker = AtomicUsize::new(0);
    let step = |slow: bool| {
        pool.run(64, &|_| {
            if std::thread::current().id() != caller {
                by_worker.fetch_add(1, Ordering::Relaxed);
                if slow {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
            }
            let start = std::time::Instant::now();
            while start.elapsed().as_micros() < 5 {}
        });
        by_worker.swap(0, Ordering::Relaxed)
    };
    let until = |wanted: &dyn Fn(usize) -> bool, slow: bool| (0..2000).any(|_| wanted(step(slow)));
    assert!(until(&|tasks| tasks > 0, false), "the worker never works");
    assert!(until(&|tasks| tasks == 0, true), "the worker never rests");
    assert!(until(&|tasks| tasks > 0, false), "the worker rests for ever");
}
