//! How much a TCP socket has grown: `bpf/tcp_growth.h`, compiled for user space.
//!
//! A real connection needs four billion segments until its counters wrap.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use proptest::prelude::*;

/// Segments sent (with those sent again), received, and sent again; segments confirmed; bytes sent
/// again, confirmed, and received. The first four have 32 bits in the kernel.
type Counters = [u64; 7];

/// A reading: the counters, and what else is known. See `growth.c`.
#[derive(Clone, Copy, Debug, Default)]
struct Reading {
    counters: Counters,
    /// The first sequence number that is not confirmed.
    confirmed: u32,
    /// The other end's FIN is in the received bytes.
    fin: bool,
    /// How often the account has begun anew; it has not.
    begun: u32,
    cleared: bool,
}

const CLIENT: u32 = 16;
const FIN: u32 = 32;

/// The compiled program, and the directory that it is in.
static PROGRAM: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = tempfile::tempdir().expect("a temporary directory");
    let program = dir.path().join("growth");
    let compiled = Command::new("clang")
        .args(["-O2", "-Wall", "-Werror", "-I"])
        .arg(root.join("bpf"))
        .arg(root.join("tests/bpf/growth.c"))
        .arg("-o")
        .arg(&program)
        .status();
    assert!(compiled.expect("clang").success());
    (dir, program)
});

/// As the kernel has them.
fn as_kept(counters: Counters) -> Counters {
    let mut kept = counters;
    for counter in &mut kept[..4] {
        *counter &= u64::from(u32::MAX);
    }
    kept
}

/// The growth that an account sees in readings that come one after the other. In a growth, segments
/// sent are without those sent again.
fn growth(begin: Counters, flags: u32, fin: u32, readings: &[Reading]) -> Vec<Counters> {
    let mut input = String::new();
    let mut put = |counters: Counters, more: &[u32]| {
        for number in as_kept(counters) {
            write!(input, "{number} ").expect("memory");
        }
        for number in more {
            write!(input, "{number} ").expect("memory");
        }
    };
    put(begin, &[flags, fin]);
    for reading in readings {
        let flags = [
            u32::from(reading.fin),
            reading.begun,
            reading.cleared.into(),
        ];
        put(
            reading.counters,
            &[reading.confirmed, flags[0], flags[1], flags[2]],
        );
    }
    let mut child = Command::new(&PROGRAM.1)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(input.as_bytes()).expect("write");
    drop(stdin);
    let output = child.wait_with_output().expect("its end");
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("text");
    let numbers = |line: &str| {
        let numbers = line.split(' ').map(|n| n.parse().expect("a number"));
        numbers.collect::<Vec<u64>>().try_into().expect("seven")
    };
    text.lines().map(numbers).collect()
}

fn sum(all: &[Counters]) -> Counters {
    let mut sum = [0; 7];
    for growth in all {
        for (to, from) in sum.iter_mut().zip(growth) {
            *to += from;
        }
    }
    sum
}

/// What a socket did in between, in which everything that was sent again was also sent.
fn step() -> impl Strategy<Value = Counters> {
    // A difference of half the range cannot be told from a step back.
    const MOST: u64 = (1 << 30) - 1;
    prop_oneof![
        prop::array::uniform7(0..100_u64),
        prop::array::uniform7(0..=MOST),
    ]
    .prop_map(|mut step| {
        step[0] += step[2];
        step
    })
}

/// What a socket had done before; often the counters are about to wrap.
fn before() -> impl Strategy<Value = Counters> {
    let small = || prop_oneof![any::<u32>(), u32::MAX - 200..=u32::MAX].prop_map(u64::from);
    let large = || prop_oneof![0..1_u64 << 40, (1_u64 << 32) - 200..1 << 32];
    let segments = prop::array::uniform4(small());
    (segments, prop::array::uniform3(large())).prop_map(|(segments, bytes)| {
        let [out, received, again, confirmed] = segments;
        [
            out, received, again, confirmed, bytes[0], bytes[1], bytes[2],
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Counters of 32 bits may wrap between any two readings. A reading that another CPU made
    /// earlier and charges later adds nothing.
    #[test]
    fn growth_is_what_was_added_also_if_counters_wrap(
        begin in before(),
        steps in prop::collection::vec((step(), any::<bool>()), 1..20),
    ) {
        let (mut now, mut readings, mut late) = (begin, Vec::new(), Reading::default());
        late.counters = begin;
        for (step, is_repeated) in &steps {
            for (to, more) in now.iter_mut().zip(step) {
                *to += more;
            }
            let reading = Reading { counters: now, ..Reading::default() };
            readings.push(reading);
            if *is_repeated {
                readings.push(late);
            }
            late = reading;
        }
        let mut wanted = sum(&steps.iter().map(|(step, _)| *step).collect::<Vec<_>>());
        wanted[0] -= wanted[2];
        // Only two steps of at most 2^30 lie between a reading and the one before the last.
        prop_assert_eq!(sum(&growth(begin, 0, 0, &readings)), wanted);
    }

    /// SYN and FIN are in the kernel's bytes and no payload, wherever in the sequence they are.
    #[test]
    fn syn_and_fin_are_no_payload(
        first in prop_oneof![any::<u32>(), u32::MAX - 200..=u32::MAX],
        sizes in prop::collection::vec(0..100_u32, 1..10),
    ) {
        let payload = sizes.iter().sum::<u32>();
        let fin = first.wrapping_add(1 + payload);
        let (mut confirmed, mut readings) = (0, Vec::new());
        let mut put = |bytes: u32, fins: u32| readings.push(Reading {
            counters: [0, 0, 0, 0, 0, u64::from(1 + bytes + fins), u64::from(bytes + fins)],
            confirmed: first.wrapping_add(1 + bytes + fins),
            fin: fins == 1,
            ..Reading::default()
        });
        for size in &sizes {
            confirmed += size;
            put(confirmed, 0);
        }
        put(confirmed, 1);
        let seen = growth([0; 7], CLIENT | FIN, fin, &readings);
        let seen_payload: Vec<u64> = seen.iter().map(|growth| growth[5]).collect();
        let received: Vec<u64> = seen.iter().map(|growth| growth[6]).collect();
        let mut wanted: Vec<u64> = sizes.iter().map(|size| u64::from(*size)).collect();
        wanted.push(0);
        prop_assert_eq!(&seen_payload, &wanted);
        prop_assert_eq!(&received, &wanted);
    }
}

/// connect(2) to no address clears the counters, one after the other, on another CPU.
#[test]
fn readings_of_other_counters_add_nothing() {
    let begin = [100, 100, 50, 100, 5_000, 10_000, 10_000];
    // Those sent again are cleared first: 50 segments more seem to have been sent once.
    let half_cleared = [100, 100, 0, 0, 5_000, 10_000, 10_000];
    for (begun, cleared, wanted) in [(0, true, 0), (1, false, 0), (0, false, 50)] {
        let reading = Reading {
            counters: half_cleared,
            begun,
            cleared,
            ..Reading::default()
        };
        let seen = growth(begin, 0, 0, &[reading]);
        assert_eq!(sum(&seen)[0], wanted, "{reading:?}");
    }
}
