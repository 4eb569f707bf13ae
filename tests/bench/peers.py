#!/usr/bin/env python3
"""Prints a Markdown table of the medians of what peers.sh has measured.

Usage: peers.py FOLDER
FOLDER/tq holds documents of tq-bench --json end to end, FOLDER/llama.cpp and FOLDER/ik_llama.cpp (either may be absent)
those of llama-bench -o json.
"""

import json
import os
import statistics
import sys


def documents(path):
    """The JSON documents that a file holds end to end, whatever else a program wrote before or between them."""
    if not os.path.exists(path):
        return
    with open(path, encoding="utf-8") as file:
        text = file.read()
    decoder, at = json.JSONDecoder(), 0
    while at < len(text):
        if text[at] in "[{":
            try:
                document, at = decoder.raw_decode(text, at)
                yield document
                continue
            except json.JSONDecodeError:
                pass
        at += 1


def ours(folder, speeds, bandwidths):
    for document in documents(os.path.join(folder, "tq")):
        name = document["models"][0]["name"]
        for limits in document["machine"]["limits"]:
            bandwidths.setdefault(limits["threads"], []).append(limits["read_gigabytes_per_second"]["mean"])
        for test in document["tests"]:
            key = ("tq", name, test["threads"], test["test"])
            speeds.setdefault(key, (test["bytes_per_token"], []))[1].append(test["tokens_per_second"]["mean"])


def theirs(folder, engine, speeds):
    """llama-bench says how many bytes the tensors of a file take: what a token reads where the embedding is the head."""
    for document in documents(os.path.join(folder, engine)):
        for test in document:
            name = os.path.basename(test["model_filename"])
            prefill = int(test["n_prompt"])
            kind = f"pp{prefill}" if prefill else f"tg{int(test['n_gen'])}"
            bytes_per_token = float(test["model_size"]) / (prefill or 1)
            key = (engine, name, int(test["n_threads"]), kind)
            speeds.setdefault(key, (bytes_per_token, []))[1].append(float(test["avg_ts"]))


def main():
    folder = sys.argv[1]
    speeds, bandwidths = {}, {}
    ours(folder, speeds, bandwidths)
    for engine in ("ik_llama.cpp", "llama.cpp"):
        theirs(folder, engine, speeds)
    settings = sorted({(threads, kind) for _, _, threads, kind in speeds}, key=lambda s: (s[0], s[1]))
    print("| threads | test | program | model | tokens/s | to ours | of reading |")
    print("|---:|---|---|---|---:|---:|---:|")
    for threads, kind in settings:
        bandwidth = statistics.median(bandwidths[threads])
        rows = [(e, m, b, statistics.median(s)) for (e, m, t, k), (b, s) in speeds.items() if (t, k) == (threads, kind)]
        for engine, model, bytes_per_token, speed in rows:
            share = f"{100 * speed * bytes_per_token / bandwidth / 1e9:.0f} %"
            print(f"| {threads} | {kind} | {engine} | {model} | {speed:.2f} | {speed / rows[0][3]:.2f} | {share} |")
    for threads, samples in sorted(bandwidths.items()):
        print(f"\nReading memory with {threads} thread{'s' if threads > 1 else ''}: "
              f"{statistics.median(samples):.1f} GB/s, the median of {len(samples)}.")


main()
