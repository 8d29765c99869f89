#!/usr/bin/env python3
"""Draws a trace from Jaeger's API as SVG: docs/images/trace.py http://127.0.0.1:16686 TRACE_ID > docs/images/trace.svg"""

import html
import json
import sys
import urllib.request

ROW, NAME, BAR = 17, 520, 640
COLOURS = {"quell-canceler": "#2f6fb3", "quell-work": "#3c8d4f", "quell-batch": "#b36b2f"}


def main(jaeger, trace_id):
    with urllib.request.urlopen(f"{jaeger}/api/traces/{trace_id}") as answer:
        trace = json.load(answer)["data"][0]
    spans = {span["spanID"]: span for span in trace["spans"]}
    children, roots = {}, []
    for span in sorted(spans.values(), key=lambda span: span["startTime"]):
        parent = next((r["spanID"] for r in span["references"] if r["refType"] == "CHILD_OF"), None)
        (children.setdefault(parent, []) if parent in spans else roots).append(span)
    rows = []

    def walk(span, depth):
        rows.append((span, depth))
        for child in children.get(span["spanID"], []):
            walk(child, depth + 1)

    for root in roots:
        walk(root, 0)
    begin = min(span["startTime"] for span in spans.values())
    end = max(span["startTime"] + span["duration"] for span in spans.values())
    width, height = NAME + BAR + 90, ROW * (len(rows) + 2)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        '<style>text{font:11px sans-serif;fill:#222}.t{fill:#777}</style>',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    x = 8
    for service, colour in COLOURS.items():
        out.append(f'<rect x="{x}" y="5" width="10" height="10" fill="{colour}"/><text x="{x + 15}" y="14">{service}</text>')
        x += 120
    for tick in range(5):
        at = NAME + BAR * tick / 4
        out.append(f'<line x1="{at}" y1="{ROW}" x2="{at}" y2="{height}" stroke="#eee"/>')
        out.append(f'<text class="t" x="{at}" y="14">{(end - begin) * tick / 4 / 1e6:.2f} s</text>')
    for row, (span, depth) in enumerate(rows, start=1):
        y = ROW * row + 4
        colour = COLOURS.get(trace["processes"][span["processID"]]["serviceName"], "#777")
        left = NAME + BAR * (span["startTime"] - begin) / (end - begin)
        long = max(2.5, BAR * span["duration"] / (end - begin))
        name = html.escape(span["operationName"])
        out.append(f'<rect x="{8 + depth * 13}" y="{y + 2}" width="4" height="{ROW - 5}" fill="{colour}"/>')
        out.append(f'<text x="{16 + depth * 13}" y="{y + 11}">{name}</text>')
        out.append(f'<rect x="{left:.1f}" y="{y + 2}" width="{long:.1f}" height="{ROW - 6}" fill="{colour}"/>')
        if span["duration"] > 1000:
            out.append(f'<text class="t" x="{left + long + 4:.1f}" y="{y + 11}">{span["duration"] / 1e3:.0f} ms</text>')
    out.append("</svg>")
    print("\n".join(out))


if __name__ == "__main__":
    main(*sys.argv[1:])
