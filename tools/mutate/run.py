#!/usr/bin/env python3
"""Tries small faults in the ledger, the stitch planner and publishing: does a test of the engine see each of them?

    tools/mutate/run.py WORK            copy, build, trace, try; goes on where it stopped
    tools/mutate/run.py WORK --again    after tests were added: build and trace, try again what no test has seen
    tools/mutate/run.py WORK --build    only build, to see whether it compiles
    tools/mutate/run.py WORK --show     what no test has seen
    tools/mutate/run.py WORK --files run/seal.rs,join/parts.rs
                                        faults in these files alone (ends of names); WORK keeps to them afterwards

All faults are built into one copy of the workspace below WORK; `BALER_MUTANT` switches one on. See docs/mutation.md.
"""
import collections, concurrent.futures, json, os, re, resource, shutil, subprocess, sys, threading, time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
ENGINE = "crates/baler-engine"
FILES = """
src/ledger/decide.rs src/ledger/fold.rs
src/run/publish.rs src/run/redo.rs src/run/seal.rs src/run/dispose.rs src/run/open.rs
src/ledger/files.rs src/ledger/mod.rs src/ledger/snapshot.rs src/ledger/paths.rs
src/run/operator.rs src/run/said.rs src/run/execute.rs
src/op/combine/stitch/mod.rs src/op/combine/stitch/optimum.rs
src/op/combine/join/parts.rs src/op/combine/join/appended.rs
""".split()
SLOW = 20.0  # seconds: a test that takes longer alone is left out
FIRST = float(os.environ.get("MUTATE_FIRST", "inf"))  # seconds of tests for a fault; the others are left to `--again`
ONLY = os.environ.get("MUTATE_ONLY", "")  # part of a file's name: faults elsewhere are left alone
AT_ONCE = int(os.environ.get("MUTATE_JOBS", "2"))
MEMORY = 6 << 30

WORK = Path(sys.argv[1]).resolve()
COPY = WORK / "copy"
LIST, DROPPED = WORK / "faults.tsv", WORK / "dropped.txt"
TESTS, RESULTS, TRIED = WORK / "tests.json", WORK / "results.tsv", WORK / "tried.tsv"
CHOSEN = WORK / "files.txt"
TARGET = os.environ.get("CARGO_TARGET_DIR", str(WORK / "target"))


def choose():
    """The files that get faults: those asked for now, or when WORK was first used, else all."""
    if "--files" in sys.argv:
        ends = sys.argv[sys.argv.index("--files") + 1].split(",")
        unknown = [end for end in ends if not any(name.endswith(end) for name in FILES)]
        if unknown:
            sys.exit(f"no file that gets faults ends with {', '.join(unknown)}; see FILES")
        chosen = [name for name in FILES if any(name.endswith(end) for end in ends)]
        # Faults are numbered over all files together: with other files the numbers would mean others.
        if LIST.exists() and (CHOSEN.read_text().split() if CHOSEN.exists() else FILES) != chosen:
            sys.exit(f"{WORK} was begun with other files; use a fresh directory")
        CHOSEN.write_text("\n".join(chosen) + "\n")
    return CHOSEN.read_text().split() if CHOSEN.exists() else FILES


def say(*words):
    print(time.strftime("%H:%M:%S"), *words, flush=True)


def copy():
    """Copies what git knows of or could know of, touching only what changed; sources that get faults are left out."""
    names = subprocess.run(["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard"], check=True, capture_output=True, text=True)
    for name in names.stdout.split("\n"):
        source = ROOT / name
        if not name or not source.is_file() or name.startswith("tools/") or (name.startswith(ENGINE) and name[len(ENGINE) + 1:] in FILES):
            continue
        if name == f"{ENGINE}/src/lib.rs":
            continue
        target, content = COPY / name, source.read_bytes()
        if not target.is_file() or target.read_bytes() != content:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def write_faults():
    mutate = [os.environ.get("MUTATE", str(WORK / "tool/debug/mutate")), COPY / ENGINE, LIST, DROPPED, ROOT / ENGINE, *FILES]
    for name in FILES:
        (COPY / ENGINE / name).parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(mutate, check=True)


def faults():
    rows = [line.split("\t") for line in LIST.read_text().splitlines()]
    return {int(r[0]): dict(id=int(r[0]), file=r[1], line=int(r[2]), function=r[3], start=int(r[4]), end=int(r[5]), what=r[6]) for r in rows}


def cargo(*arguments):
    command = ["cargo", *arguments, "--workspace", "--locked", "--offline", "--message-format=json"]
    run = subprocess.run(command, cwd=COPY, env={**os.environ, "CARGO_TARGET_DIR": TARGET}, capture_output=True, text=True)
    return run, [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]


def build():
    """Builds, leaving out faults that do not compile, until the rest does."""
    if "MUTATE" not in os.environ:
        subprocess.run(["cargo", "build", "--locked"], cwd=HERE, env={**os.environ, "CARGO_TARGET_DIR": str(WORK / "tool")}, check=True)
    copy()
    DROPPED.touch()
    while True:
        write_faults()
        say("building,", len(faults()), "faults")
        # Not `build`: what tests depend on has other features, and all of it would be built once more.
        run, messages = cargo("test", "--no-run", "--lib", "--test", "it")
        if run.returncode == 0:
            break
        bad, known = set(), collections.defaultdict(list)
        for fault in faults().values():
            known[fault["file"]].append(fault)
        for message in (m["message"] for m in messages if m.get("reason") == "compiler-message"):
            if message["level"] != "error":
                continue
            spans = list(message["spans"])
            for child in message["children"]:
                spans += child["spans"]
            hit = False
            for span in sorted(spans, key=lambda s: not s["is_primary"]):
                name = span["file_name"].removeprefix(f"{ENGINE}/")
                around = [f for f in known[name] if f["start"] <= span["byte_start"] and span["byte_end"] <= f["end"]]
                if around and not hit:
                    bad.add(min(around, key=lambda f: f["end"] - f["start"])["id"])
                    hit = True
            if not hit and spans:
                # It lies in what a fault around or before it did: the widest faults on these lines go.
                first, last = min(s["line_start"] for s in spans), max(s["line_end"] for s in spans)
                name = spans[0]["file_name"].removeprefix(f"{ENGINE}/")
                near = [f for f in known[name] if first <= f["line"] <= last]
                # Faults of one expression lie within each other, a few bytes of switch apart.
                widest = max(near, key=lambda f: f["end"] - f["start"], default=None)
                bad.update(f["id"] for f in near if f["line"] == widest["line"] and f["what"].split(" of ")[-1] == widest["what"].split(" of ")[-1])
        if not bad:
            sys.exit("the copy does not compile:\n" + run.stderr[-4000:])
        say(len(bad), "faults do not compile")
        with DROPPED.open("a") as out:
            out.writelines(f"{fault}\n" for fault in sorted(bad))
    found = {}
    for message in messages:
        if message.get("executable") and message.get("profile", {}).get("test") and ENGINE in message["manifest_path"]:
            # A later build may write over them while they are tried.
            name = message["target"]["name"]
            (WORK / "bin").mkdir(exist_ok=True)
            (WORK / "bin" / name).unlink(missing_ok=True)
            found[name] = shutil.copy2(message["executable"], WORK / "bin" / name)
    (WORK / "binaries.json").write_text(json.dumps({name: str(path) for name, path in found.items()}))


def limits():
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def run_tests(binary, names, seconds, fault=None, trace=None):
    """What became of these tests, together in one process: None if all passed, else why not; and how long it took."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("BALER_MUTANT")}
    env.update(CARGO_MANIFEST_DIR=str(COPY / ENGINE), PROPTEST_FAILURE_PERSISTENCE="off", RUST_BACKTRACE="0")
    if fault is not None:
        env["BALER_MUTANT"] = str(fault)
    if trace is not None:
        env["BALER_MUTANT_TRACE"] = str(trace)
    began = time.monotonic()
    process = subprocess.Popen([binary, "--exact", *names], cwd=COPY / ENGINE, env=env, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, errors="replace", preexec_fn=limits, start_new_session=True)
    timer = threading.Timer(seconds, lambda: os.killpg(process.pid, 9))
    timer.start()
    out, _ = process.communicate()
    timed_out = not timer.is_alive()
    timer.cancel()
    took = time.monotonic() - began
    if process.returncode == 0:
        return None, took
    failed = re.findall(r"^test (\S+) \.\.\. FAILED", out, re.M)
    return ("timeout" if timed_out else failed[0] if failed else f"exit {process.returncode}"), took


def trace():
    """Runs every test alone, keeping how long it took and which faults it reached."""
    binaries = json.loads((WORK / "binaries.json").read_text())
    known = json.loads(TESTS.read_text()) if TESTS.exists() else {}
    tests = known.get("tests", {})
    todo = []
    for name, path in binaries.items():
        listed = subprocess.run([path, "--list", "--format", "terse"], capture_output=True, text=True, check=True).stdout
        for test in re.findall(r"^(\S+): test$", listed, re.M):
            key = f"{name} {test}"
            # What the tests reach changes little when other tests are added; tests that are new are always traced.
            if key not in tests or tests[key]["failed"] not in (None, "timeout"):
                todo.append((key, path, test))
    say(len(todo), "tests to trace,", len(tests), "known")
    (WORK / "trace").mkdir(exist_ok=True)

    def one(item):
        key, path, test = item
        file = WORK / "trace" / re.sub(r"\W+", "_", key)
        file.unlink(missing_ok=True)
        failed, took = run_tests(path, [test], 1.5 * SLOW, trace=file)
        reached = sorted({int(line) for line in file.read_text().split()}) if file.exists() else []
        return key, dict(seconds=took, failed=failed, reached=reached)

    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        for count, (key, result) in enumerate(pool.map(one, todo), 1):
            tests[key] = result
            TESTS.write_text(json.dumps(dict(tests=tests)))
            if result["failed"] or result["seconds"] > SLOW:
                say("left out:", key, result["failed"], f"{result['seconds']:.1f} s")
            if count % 50 == 0:
                say("traced", count)


def results():
    if not RESULTS.exists():
        return {}
    rows = [line.split("\t") for line in RESULTS.read_text().splitlines()]
    return {int(r[0]): (r[1], r[2]) for r in rows}


def batches(covering):
    """Covering tests, shortest first, in batches that grow: most faults are seen by the first."""
    batch, seconds, most = [], 0.0, 1.0
    for key, test in covering:
        batch.append(key)
        seconds += test["seconds"]
        if seconds >= most:
            yield batch, seconds
            batch, seconds, most = [], 0.0, most * 3
    if batch:
        yield batch, seconds


def attempt(again):
    binaries = json.loads((WORK / "binaries.json").read_text())
    tests = json.loads(TESTS.read_text())["tests"]
    usable = {k: t for k, t in tests.items() if not t["failed"] and t["seconds"] <= SLOW}
    by_fault = collections.defaultdict(list)
    for key, test in usable.items():
        for fault in test["reached"]:
            by_fault[fault].append((key, test))
    known, faults_by_id = results(), faults()
    todo = [f for f in faults() if f not in known or (again and not known[f][0].startswith("killed"))]
    todo = [f for f in todo if ONLY in faults_by_id[f]["file"]]
    tried = collections.defaultdict(set)
    for line in TRIED.read_text().splitlines() if TRIED.exists() else []:
        fault, names = line.split("\t")
        tried[int(fault)].update(names.split(","))
    say(len(todo), "faults to try")
    lock, done = threading.Lock(), [0, 0]

    def one(fault):
        covering = [kt for kt in by_fault[fault] if kt[0] not in tried[fault]]
        # The second time around, tests that were written for such faults come first, then those that reach little.
        covering.sort(key=lambda kt: ("mutants::" not in kt[0], len(kt[1]["reached"])) if again else kt[1]["seconds"])
        if not covering and fault in known:
            return
        verdict = ("survived", "") if covering or known.get(fault, [""])[0] == "survived" else ("not covered", "")
        spent = 0.0
        for batch, seconds in batches(covering):
            if spent > FIRST:
                break
            spent += seconds
            tried[fault].update(batch)
            for name, path in binaries.items():
                chosen = [key.split(" ", 1)[1] for key in batch if key.split(" ", 1)[0] == name]
                if not chosen:
                    continue
                failed, _ = run_tests(path, chosen, 5 * seconds + 15, fault=fault)
                if failed:
                    verdict = ("killed", failed)
                    break
            if verdict[0] == "killed":
                break
        with lock:
            with RESULTS.open("a") as out:
                out.write(f"{fault}\t{verdict[0]}\t{verdict[1]}\n")
            if verdict[0] == "survived":
                with TRIED.open("a") as out:
                    out.write(f"{fault}\t{','.join(sorted(tried[fault]))}\n")
            done[0] += 1
            done[1] += verdict[0] != "killed"
            if done[0] % 50 == 0:
                say("tried", done[0], "of", len(todo), "--", done[1], "not seen")

    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        for future in [pool.submit(one, fault) for fault in todo]:
            future.result()


def show():
    all_faults, known = faults(), results()
    count = collections.Counter((known.get(f) or ("not tried",))[0] for f in all_faults)
    for fault in all_faults.values():
        verdict = known.get(fault["id"])
        if verdict and verdict[0] != "killed":
            print(fault["id"], f"{fault['file']}:{fault['line']}", fault["function"], fault["what"], "--", *verdict, sep="\t")
    timeouts = sum(1 for v in known.values() if v == ("killed", "timeout"))
    print(dict(count), "of", len(all_faults), "faults;", timeouts, "of the killed by running out of time;",
          len(DROPPED.read_text().split()), "more do not compile")


def main():
    global FILES
    WORK.mkdir(parents=True, exist_ok=True)
    FILES = choose()
    if "--show" in sys.argv:
        return show()
    again = "--again" in sys.argv
    if "--build" in sys.argv:
        return build()
    if (again and "--built" not in sys.argv) or not (WORK / "binaries.json").exists():
        build()
    trace()
    attempt(again)
    show()


main()
