#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Seeded differential tests against genuine qemu-img 7.2.

A case is named SEED.INDEX[:DIM=VALUE,...] and everything in it follows from
that name: a source made by qemu-img and qemu-io, one operation run by the
genuine program and by ours, and what must then hold (differ/verdict.py). The
cases are planned so that every pair of features that is not excluded
(differ/table.py) occurs; with --require-pairs an empty pair is a failure.

Programs: BYRE_QEMU_IMG is the front under test ("byre qemu-img"), BYRE the
native program (optional), QEMU_IMG and QEMU_IO the genuine ones.
"""

import argparse
import collections
import concurrent.futures
import os
import random
import shutil
import sys
import tempfile
import traceback

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from differ import ops, source, table, tools, verdict  # noqa: E402

OURS = os.environ.get("BYRE_QEMU_IMG", "byre qemu-img")
BYRE = os.environ.get("BYRE", "")


def case_name(seed, index, wants):
    name = f"{seed}.{index}"
    if wants:
        name += ":" + ",".join(f"{d}={v}" for d, v in wants.items())
    return name


def case_from_name(name):
    head, _, tail = name.partition(":")
    wants = dict(w.split("=", 1) for w in tail.split(",") if w)
    return head, wants


def valid_pairs():
    found, reasons = [], collections.Counter()
    features = table.all_features()
    for i, a in enumerate(features):
        for b in features[i + 1:]:
            why = table.pair_reason(a, b)
            if why:
                reasons[why] += 1
            else:
                found.append((a, b))
    return found, reasons


# of cases for the pairs that are empty yet
ROUNDS = 8


def pairs_of(case):
    features = table.features(case)
    for i, a in enumerate(features):
        for b in features[i + 1:]:
            yield a, b


def plan_cases(seed, count, pairs, only):
    """Names of cases; each one is asked to hold a pair not seen so far."""
    todo = list(pairs)
    random.Random(str(seed)).shuffle(todo)
    seen, names = set(), []
    for index in range(count):
        wants = dict(only)
        while todo and not only and todo[-1] in seen:
            todo.pop()
        if todo and not only:
            wants = dict(todo.pop())
        name = case_name(seed, index, wants)
        case = draw(name)
        if case is None:
            sys.exit(f"differential: cannot plan {name}: the tables of "
                     "invalid pairs are incomplete")
        seen.update(pairs_of(case))
        names.append(name)
    return names


def draw(name):
    head, wants = case_from_name(name)
    return table.draw(random.Random("plan " + head), wants)


def run_case(name, root, keep):
    """Returns (name, verdict text or None, why both refused or None)."""
    case = draw(name)
    if case is None:
        return name, "BROKEN: no such case", None
    rng = random.Random("run " + case_from_name(name)[0])
    folder = tempfile.mkdtemp(prefix="case-", dir=root)
    log, fault, refusal = [], None, None
    try:
        refusal = perform(case, rng, folder, log)
    except tools.Mismatch as e:
        fault = f"MISMATCH: {e}"
    except tools.Broken as e:
        fault = f"BROKEN: {e}"
    except FileNotFoundError as e:
        fault = f"BROKEN: {e}"
    except Exception:  # pylint: disable=broad-except
        fault = "BROKEN: " + traceback.format_exc()
    if fault:
        fault += "\n  case: " + " ".join(
            f"{d}={v}" for d, v in case.items() if v != "-")
        fault += "\n  commands:\n" + "\n".join(f"   {x}" for x in log)
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)
    elif fault:
        fault += f"\n  kept in {folder}"
    return name, fault, refusal


def perform(case, rng, folder, log):
    dirs = [os.path.join(folder, d) for d in ("a", "b")]
    scratch = os.path.join(folder, "patterns")
    home = os.path.join(folder, "src")
    for d in (*dirs, scratch, home):
        os.mkdir(d)
    src = source.make(rng, case, home, scratch, log)
    plan = ops.PLANS[case["op"]](rng, case, src, scratch, log)
    shutil.rmtree(scratch)
    results = []
    for d, prog in zip(dirs, (tools.QEMU_IMG, OURS)):
        plan.prepare(d)
        results.append(tools.run(prog, plan.args, plan.where(d), log))
    dirs = [plan.where(d) for d in dirs]
    refusal = verdict.judge(case, plan, dirs, src, results, log)
    if refusal:
        return refusal
    good = results[0].rc == 0
    if BYRE and good and rng.random() < 0.4:
        verdict.native(BYRE, rng, case, plan, dirs, src, log)
    if not good and case["op"] != "bad":
        return results[0].err.strip().split("\n")[-1] or "?"
    return None


def print_table(pairs, counts, path):
    """By dimension: the least count among the valid pairs of values."""
    dims = list(table.DIMS)
    least = {}
    for a, b in pairs:
        key = (a[0], b[0])
        least[key] = min(least.get(key, 1 << 30), counts[a, b])
    print("least number of cases for a pair of values, by dimension "
          "(blank: the two never meet)")
    width = max(map(len, dims))
    for i in range(0, max(map(len, dims))):
        print(" " * width, " ".join(d.rjust(width)[i].rjust(3)
                                    for d in dims))
    for a in dims:
        row = [least.get((a, b), least.get((b, a), "")) for b in dims]
        print(a.rjust(width), " ".join(str(n).rjust(3) for n in row))
    if path:
        features = table.all_features()
        known = set(pairs)
        with open(path, "w", encoding="ascii") as f:
            f.write("\t".join(["", *("=".join(x) for x in features)]) + "\n")
            for i, a in enumerate(features):
                row = ["=".join(a)]
                for j, b in enumerate(features):
                    p = (a, b) if i < j else (b, a)
                    row.append(str(counts[p]) if p in known else "")
                f.write("\t".join(row) + "\n")


def arguments():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--cases", type=int, default=150, metavar="N")
    p.add_argument("--seed", default="1", metavar="S")
    p.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="J")
    p.add_argument("--keep", action="store_true",
                   help="leave the files of failed cases")
    p.add_argument("--only", default="", metavar="DIM=VALUE,...",
                   help="all cases have these features")
    p.add_argument("--case", action="append", metavar="NAME",
                   help="run this case (again)")
    p.add_argument("--require-pairs", action="store_true",
                   help="fail when a valid pair of features is empty")
    p.add_argument("--table", metavar="FILE",
                   help="write the whole feature x feature table here")
    p.add_argument("--stop", type=int, default=20, metavar="N",
                   help="give up after N failures")
    return p.parse_args()


class Tally:
    """What the cases that ran have shown."""

    def __init__(self):
        self.counts, self.tried, self.refused = (collections.Counter()
                                                 for _ in range(3))
        self.failed = self.done = 0

    def run(self, names, root, args):
        with concurrent.futures.ProcessPoolExecutor(args.jobs) as pool:
            jobs = [pool.submit(run_case, n, root, args.keep) for n in names]
            for job in concurrent.futures.as_completed(jobs):
                if job.cancelled():
                    continue
                self.add(*job.result())
                if self.failed == args.stop:
                    for other in jobs:
                        other.cancel()

    def add(self, name, fault, refusal):
        self.done += 1
        self.tried.update(pairs_of(draw(name)))
        if fault:
            self.failed += 1
            print(f"FAIL {name}\n  {fault}\n", flush=True)
        elif refusal:
            self.refused[refusal] += 1
        else:
            self.counts.update(pairs_of(draw(name)))


def more_cases(seed, pairs, tally, start):
    """A case for every pair that none has shown: those planned for it were
    refused for something else."""
    wanted = (dict(p) for p in pairs if not tally.counts[p])
    names = (case_name(seed, start + i, w) for i, w in enumerate(wanted))
    return [n for n in names if draw(n)]


def main():
    args = arguments()
    pairs, reasons = valid_pairs()
    only = case_from_name(":" + args.only)[1]
    names = args.case or plan_cases(args.seed, args.cases, pairs, only)
    root = tempfile.mkdtemp(prefix="byre-differential-")
    tally = Tally()
    tally.run(names, root, args)
    for _ in range(ROUNDS if args.require_pairs else 0):
        if not tally.failed:
            tally.run(more_cases(args.seed, pairs, tally, tally.done), root,
                      args)
    counts, tried, refused = tally.counts, tally.tried, tally.refused
    failed, done = tally.failed, tally.done
    if not args.keep or not failed:
        shutil.rmtree(root, ignore_errors=True)
    if not args.case:
        print_table(pairs, counts, args.table)
    empty = [p for p in pairs if not counts[p]]
    print(f"{len(pairs)} valid pairs, {len(empty)} of them empty; "
          f"{sum(reasons.values())} invalid:")
    for why, n in reasons.most_common():
        print(f"  {n:5} {why}")
    if args.require_pairs:
        for a, b in empty:
            print(f"empty: {'='.join(a)} x {'='.join(b)}"
                  f" (refused by both: {tried[a, b]})")
    print("refused (by both, unless it says by us):")
    for why, n in refused.most_common():
        print(f"  {n:5} {why}")
    print(f"{done} cases, {failed} failed, {sum(refused.values())} refused")
    sys.exit(1 if failed or (args.require_pairs and empty) else 0)


if __name__ == "__main__":
    main()
