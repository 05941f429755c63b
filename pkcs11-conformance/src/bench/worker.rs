//! A process that has one module loaded and one operation prepared, and runs it when told.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::ops::{Case, Job};
use crate::context::{Env, Stop};
use crate::process::Peer;

/// One round of one module.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    pub operations: u64,
    /// Nanoseconds from the start of the first to the end of the last.
    pub wall: u64,
    /// Nanoseconds of CPU time of the whole process.
    pub cpu: u64,
    /// Threads that worked at the same time.
    pub workers: u64,
    /// Memory of the process afterwards, in KiB.
    pub resident: u64,
}

impl Sample {
    /// One sample of several processes that ran at the same time.
    pub fn together(all: &[Sample]) -> Sample {
        Sample {
            operations: all.iter().map(|s| s.operations).sum(),
            wall: all.iter().map(|s| s.wall).max().unwrap_or(0),
            cpu: all.iter().map(|s| s.cpu).sum(),
            workers: all.iter().map(|s| s.workers).sum(),
            resident: all.iter().map(|s| s.resident).max().unwrap_or(0),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Order {
    threads: usize,
    millis: u64,
}

/// The controlling end.
pub struct Worker {
    peer: Peer,
    answers: BufReader<File>,
}

impl Worker {
    /// Starts a process for the module of `env`, or for the floor without one, and has it prepare the case.
    pub fn start(env: Option<&Env>, case: &Case) -> Result<Worker, String> {
        let peer = Peer::spawn(|line| {
            let (mut out, inp) = line.files();
            serve(&mut out, BufReader::new(inp), env, case);
            Vec::new()
        });
        let answers = peer.line.reader().map_err(|e| e.to_string())?;
        Ok(Worker { peer, answers: BufReader::new(answers) })
    }

    fn read<R: serde::de::DeserializeOwned>(&mut self) -> Result<R, String> {
        let mut line = String::new();
        self.answers.read_line(&mut line).map_err(|e| e.to_string())?;
        serde_json::from_str::<Result<R, String>>(&line).map_err(|_| "the process ended".to_owned())?
    }

    /// Waits until the case is prepared; the error says why it cannot be, the text what there was to say.
    pub fn ready(&mut self) -> Result<String, String> {
        self.read()
    }

    /// Starts a round; [`Worker::sample`] waits for its end.
    pub fn go(&mut self, threads: usize, millis: u64) {
        let order = serde_json::to_string(&Order { threads, millis }).unwrap_or_default();
        let _ = self.peer.line.send(&format!("{order}\n"));
    }

    pub fn sample(&mut self) -> Result<Sample, String> {
        self.read()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Closing the line would not do: workers started later hold copies of its end.
        let _ = self.peer.line.send("end\n");
        self.peer.wait();
    }
}

fn say<R: Serialize>(out: &mut File, answer: &Result<R, String>) {
    let text = serde_json::to_string(answer).unwrap_or_default();
    let _ = out.write_all(format!("{text}\n").as_bytes());
}

fn serve(out: &mut File, inp: BufReader<File>, env: Option<&Env>, case: &Case) {
    crate::process::silence();
    let why = |s: Stop| match s {
        Stop::Fail(w) | Stop::Skip(w) => w,
    };
    let job = case.prepare(env).map_err(why);
    say(out, &job.as_ref().map(|(_, said)| said.clone()).map_err(Clone::clone));
    let Ok((job, _)) = &job else { return };
    for line in inp.lines().map_while(Result::ok) {
        let Ok(order) = serde_json::from_str::<Order>(&line) else { break };
        say(out, &round(job, order.threads, Duration::from_millis(order.millis)).map_err(why));
    }
}

/// CPU time of the whole process in nanoseconds.
fn cpu_time() -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a place for the time.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// Resident memory of the process in KiB; 0 where the system does not say.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

/// One thread's part of a round: prepares, waits for the others and for the start, and works until the time is up.
fn part(job: &Job, prepared: &Barrier, start: &Barrier, slice: Duration) -> Result<u64, Stop> {
    let step = job.thread();
    prepared.wait();
    start.wait();
    let mut step = step?;
    let end = Instant::now() + slice;
    let (mut done, mut batch) = (0u64, 1u64);
    loop {
        let begin = Instant::now();
        for _ in 0..batch {
            step()?;
        }
        done += batch;
        let now = Instant::now();
        if now >= end {
            return Ok(done);
        }
        // Looking at the clock must cost nothing beside the batch.
        if now - begin < Duration::from_micros(100) {
            batch *= 2;
        }
    }
}

fn round(job: &Job, threads: usize, slice: Duration) -> Result<Sample, Stop> {
    let (prepared, start) = (Barrier::new(threads + 1), Barrier::new(threads + 1));
    thread::scope(|scope| {
        let work = || part(job, &prepared, &start, slice);
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        prepared.wait();
        let (cpu, wall) = (cpu_time(), Instant::now());
        start.wait();
        let done: Vec<u64> = handles
            .into_iter()
            .map(|h| h.join().unwrap_or_else(|_| Err(Stop::Fail("a thread panicked".into()))))
            .collect::<Result<_, _>>()?;
        Ok(Sample {
            operations: done.iter().sum(),
            wall: wall.elapsed().as_nanos() as u64,
            cpu: cpu_time() - cpu,
            workers: threads as u64,
            resident: resident(),
        })
    })
}
