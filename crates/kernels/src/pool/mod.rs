//! Worker threads: short parallel regions, started and ended in about a microsecond.
//!
//! A region is a number of tasks, of which the caller and each worker have a share. They claim their own one by one, then those of
//! others: memory that two threads write is touched when a thread runs out of work, not with every task. The caller waits
//! for claimed tasks, never for a worker: one that the operating system does not run claims nothing
//! and delays nobody. What can delay is a worker that loses its core *within* a task. Therefore the caller
//! gives up its own core after a short wait (so that the worker can move there), and a worker that
//! made it wait long is left out for a while: see [`rest`].

mod rest;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use rest::Rest;

/// How long a worker looks for the next region before it sleeps. Longer than what lies between two
/// regions of a step, and between two steps of one sequence: waking it takes about as long, and that region is computed without it.
const WORKER_SPIN: Duration = Duration::from_micros(200);

/// How long the caller looks for the end of the last tasks before it sleeps.
const CALLER_SPIN: Duration = Duration::from_micros(40);

/// Looks between two looks at the clock.
const LOOKS: u32 = 32;

/// Most tasks of a parallel region; a larger one is run by the caller alone.
const MOST_TASKS: usize = u32::MAX as usize;

type Task<'a> = &'a (dyn Fn(usize) + Sync);

thread_local! {
    /// Whether this thread is inside a task: a region within it is run by this thread alone.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Worker threads, which run until the pool is dropped.
pub struct Pool {
    shared: Arc<Shared>,
    /// Held while a region runs: one at a time.
    rest: Mutex<Rest>,
    handles: Vec<JoinHandle<()>>,
}

struct Shared {
    /// Which tasks each thread of the region may still claim: the caller, then the workers.
    shares: Vec<Share>,
    published: Published,
    /// Tasks that are not known to be done.
    left: Alone<AtomicUsize>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// The caller, while it sleeps.
    caller: Mutex<Option<Thread>>,
    stop: AtomicBool,
    workers: Vec<Worker>,
}

/// What the caller writes and the workers read.
#[derive(Default)]
#[repr(align(128))]
struct Published {
    /// Changes with each region: what workers look at. All else is there before.
    generation: AtomicU32,
    /// A `Task` on the caller's stack. Valid for whoever has claimed a task, until it counts as done.
    task: AtomicPtr<Task<'static>>,
    /// Whether a task of the region has panicked: the others are skipped.
    failed: AtomicBool,
}

/// In cache lines of its own.
#[derive(Default)]
#[repr(align(128))]
struct Alone<T>(T);

/// Consecutive tasks, the first (low half) up to the last, which is not included (high half). Whose share it is takes
/// the first of them, so that it goes through memory in order; others take the last once their own are done.
#[derive(Default)]
#[repr(align(128))]
struct Share(AtomicU64);

impl Share {
    fn set(&self, first: usize, end: usize) {
        // Whoever takes a task has to see what was published before.
        self.0.store((end as u64) << 32 | first as u64, Ordering::Release);
    }

    /// Claims one task, if there is one.
    fn take(&self, own: bool) -> Option<usize> {
        let mut share = self.0.load(Ordering::Relaxed);
        loop {
            let (first, end) = (share & 0xFFFF_FFFF, share >> 32);
            if first >= end {
                return None;
            }
            let (task, rest) = match own {
                true => (first, end << 32 | (first + 1)),
                false => (end - 1, (end - 1) << 32 | first),
            };
            let taken =
                self.0.compare_exchange_weak(share, rest, Ordering::Acquire, Ordering::Relaxed);
            match taken {
                Ok(_) => return Some(task as usize),
                Err(current) => share = current,
            }
        }
    }
}

/// A worker's flags, each in a cache line of its own.
#[derive(Default)]
#[repr(align(128))]
struct Worker {
    /// Set before it sleeps: wake it by `unpark`.
    asleep: AtomicBool,
    /// It holds a task.
    busy: AtomicBool,
    /// It takes no tasks for now.
    resting: AtomicBool,
}

impl Pool {
    /// A pool of `threads`, the caller of [`Self::run`] being one of them. 0 is taken as 1. Where the
    /// system refuses threads, the pool has fewer.
    pub fn new(threads: usize) -> Self {
        let count = threads.max(1) - 1;
        let shared = Arc::new(Shared {
            shares: (0..=count).map(|_| Share::default()).collect(),
            published: Published::default(),
            left: Alone::default(),
            panic: Mutex::new(None),
            caller: Mutex::new(None),
            stop: AtomicBool::new(false),
            workers: (0..count).map(|_| Worker::default()).collect(),
        });
        let start = |index| {
            let shared = Arc::clone(&shared);
            let name = format!("kernels {}", index + 1);
            thread::Builder::new().name(name).spawn(move || shared.work(index)).ok()
        };
        let handles: Vec<_> = (0..count).map_while(start).collect();
        let rest = Mutex::new(Rest::new(handles.len()));
        Self { shared, rest, handles }
    }

    /// Threads that work on a region.
    pub fn threads(&self) -> usize {
        self.handles.len() + 1
    }

    /// Runs `task(0)` … `task(tasks − 1)`, each once, on any thread in any order, and returns when all
    /// are done. Calls from several threads take turns; a call from within a task is run by that
    /// thread alone.
    ///
    /// # Panics
    /// With a task's panic, after all others are done or skipped.
    pub fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        if tasks <= 1 || self.handles.is_empty() || tasks > MOST_TASKS || INSIDE.get() {
            (0..tasks).for_each(task);
            return;
        }
        let mut rest = lock(&self.rest);
        let now = Instant::now();
        let awake = rest.update(now, &self.shared.workers);
        if awake == 0 {
            let _inside = Inside::enter();
            (0..tasks).for_each(task);
            return;
        }
        self.publish(tasks, &task);
        self.wake(tasks - 1);
        {
            let _inside = Inside::enter();
            self.shared.work_on(0);
        }
        self.wait(&mut rest, now);
        // Nobody can claim any more, and all claimed tasks are done: `task` is not used from here on.
        self.shared.published.task.store(std::ptr::null_mut(), Ordering::Relaxed);
        let panic = lock(&self.shared.panic).take();
        drop(rest);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    fn publish(&self, tasks: usize, task: &Task<'_>) {
        let shared = &self.shared;
        let published = &shared.published;
        published.failed.store(false, Ordering::Relaxed);
        let task = std::ptr::from_ref(task).cast_mut().cast::<Task<'static>>();
        published.task.store(task, Ordering::Relaxed);
        shared.left.0.store(tasks, Ordering::Relaxed);
        // No allocation here: a decode step publishes some hundred regions.
        let workers =
            || shared.workers.iter().map(|worker| !worker.resting.load(Ordering::Relaxed));
        let threads = 1 + workers().filter(|able| *able).count();
        let mut place = 0;
        for (share, able) in shared.shares.iter().zip(std::iter::once(true).chain(workers())) {
            let next = place + usize::from(able);
            share.set(tasks * place / threads, tasks * next / threads);
            place = next;
        }
        // Sequentially consistent, as the workers' `asleep`: either they see it or they are woken.
        published.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// Wakes up to `most` workers that sleep.
    fn wake(&self, most: usize) {
        let workers = self.shared.workers.iter().zip(&self.handles);
        let able = workers.filter(|(worker, _)| !worker.resting.load(Ordering::Relaxed));
        for (worker, handle) in able.take(most) {
            if worker.asleep.load(Ordering::SeqCst) {
                handle.thread().unpark();
            }
        }
    }

    /// Returns when all tasks are done.
    fn wait(&self, rest: &mut Rest, start: Instant) {
        let shared = &self.shared;
        let done = || shared.left.0.load(Ordering::Acquire) == 0;
        if done() {
            rest.went_well(start);
            return;
        }
        let idle = Instant::now();
        while idle.elapsed() < CALLER_SPIN {
            for _ in 0..LOOKS {
                if done() {
                    rest.went_well(start);
                    return;
                }
                std::hint::spin_loop();
            }
        }
        rest.suspect(&shared.workers);
        *lock(&shared.caller) = Some(thread::current());
        while !done() {
            thread::park();
        }
        *lock(&shared.caller) = None;
        let now = Instant::now();
        rest.blame(&shared.workers, idle - start, now - idle, now);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for handle in self.handles.drain(..) {
            handle.thread().unpark();
            // A worker's panics are caught, so that there is nothing to report.
            let _ = handle.join();
        }
    }
}

impl Shared {
    /// A worker's life.
    fn work(&self, index: usize) {
        let Some(worker) = self.workers.get(index) else { return };
        INSIDE.set(true);
        let mut seen = 0;
        while let Some(generation) = self.next_region(worker, seen) {
            seen = generation;
            if worker.resting.load(Ordering::Acquire) {
                continue;
            }
            worker.busy.store(true, Ordering::Relaxed);
            self.work_on(index + 1);
            worker.busy.store(false, Ordering::Relaxed);
        }
    }

    /// Waits for a generation other than `seen`; none if the pool ends.
    fn next_region(&self, worker: &Worker, seen: u32) -> Option<u32> {
        let generation = || self.published.generation.load(Ordering::SeqCst);
        loop {
            let idle = Instant::now();
            while idle.elapsed() < WORKER_SPIN {
                for _ in 0..LOOKS {
                    if generation() != seen {
                        return Some(generation());
                    }
                    std::hint::spin_loop();
                }
            }
            worker.asleep.store(true, Ordering::SeqCst);
            while generation() == seen && !self.stop.load(Ordering::SeqCst) {
                thread::park();
            }
            worker.asleep.store(false, Ordering::SeqCst);
            if self.stop.load(Ordering::SeqCst) {
                return None;
            }
        }
    }

    /// Claims and runs tasks, those of the thread's own share first, until there are none.
    ///
    /// Nothing says which region a task is of, and nothing has to: shares of a region that has ended are empty, and a region does not end
    /// before whoever has claimed a task of it has counted that as done. So who comes late works on the present region.
    fn work_on(&self, thread: usize) {
        let mut done = 0;
        while let Some(index) = self.claim(thread) {
            // SAFETY: a task is claimed and does not count as done, hence its region's `run` has not returned, and what it published
            // before the shares is there and alive.
            let task = unsafe { *self.published.task.load(Ordering::Relaxed) };
            self.execute(index, task);
            done += 1;
        }
        self.finish(done);
    }

    fn claim(&self, thread: usize) -> Option<usize> {
        let own = self.shares.get(thread).and_then(|share| share.take(true));
        own.or_else(|| self.shares.iter().find_map(|share| share.take(false)))
    }

    fn execute(&self, index: usize, task: Task<'_>) {
        if self.published.failed.load(Ordering::Relaxed) {
            return;
        }
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| task(index))) {
            self.published.failed.store(true, Ordering::Relaxed);
            lock(&self.panic).get_or_insert(panic);
        }
    }

    /// Counts tasks as done. Who counts the last one wakes the caller, if it sleeps.
    fn finish(&self, done: usize) {
        if done > 0
            && self.left.0.fetch_sub(done, Ordering::SeqCst) == done
            && let Some(caller) = lock(&self.caller).as_ref()
        {
            caller.unpark();
        }
    }
}

/// Marks this thread as inside a task, until dropped.
struct Inside;

impl Inside {
    fn enter() -> Self {
        INSIDE.set(true);
        Self
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.set(false);
    }
}

/// A panic of a task is caught before it can poison what it protects.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
