"""Tables as others write and read them: writes verdicts as Parquet by pyarrow, has them counted, reads what comes back.

Arguments: the program, a folder to work in. Prints one JSON object.
"""

import datetime
import json
import subprocess
import sys
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq

program, folder = sys.argv[1:]
amsterdam = ZoneInfo("Europe/Amsterdam")
rows = 90
# Every seven hours from the last evening of February on, by a clock on the wall there.
walls = [datetime.datetime(2026, 2, 28, 23, 30) + datetime.timedelta(hours=7 * i) for i in range(rows)]
complaint = [i % 3 == 0 for i in range(rows)]
columns = {
    "channel": pa.array(["twitter", "email", "chat"] * (rows // 3)).dictionary_encode(),
    "brand": pa.array(["Zilt" if i % 2 else None for i in range(rows)], pa.large_string()),
    "question": pa.array([False] * rows),
    "complaint": pa.array(complaint),
    "compliment": pa.array([False] * rows),
    "factual_error": pa.array([False] * rows),
    "sentiment": pa.array(["negative" if c else "neutral" for c in complaint]),
    # Columns of nothing have a type of their own.
    "answered_at": pa.nulls(rows),
    "context": pa.nulls(rows),
    "complaint_p": pa.array([0.9 if c else 0.1 for c in complaint], pa.float64()),
}
found = {}
for name, received, codec in [
    ("local", pa.array(walls, pa.timestamp("us")), "snappy"),
    ("utc", pa.array([w.replace(tzinfo=amsterdam) for w in walls], pa.timestamp("ms", "UTC")), "zstd"),
    ("text", pa.array([w.isoformat() for w in walls]), "gzip"),
    ("nano", pa.array(walls, pa.timestamp("ns")), "lz4"),
]:
    source, target = f"{folder}/{name}.parquet", f"{folder}/{name}-kpi.parquet"
    pq.write_table(pa.table({**columns, "received_at": received}), source, compression=codec)
    subprocess.run([program, "kpi", source, "--by", "month,channel", "-o", target], check=True)
    found[name] = pq.read_table(target).select(["period", "channel", "messages", "complaints"]).to_pylist()

expected = {}
for wall, channel, complains in zip(walls, ["twitter", "email", "chat"] * (rows // 3), complaint):
    group = expected.setdefault((f"{wall:%Y-%m}", channel), [0, 0])
    group[0] += 1
    group[1] += complains
order = {"twitter": 0, "chat": 4, "email": 5}
expected = [
    {"period": period, "channel": channel, "messages": m, "complaints": c}
    for (period, channel), (m, c) in sorted(expected.items(), key=lambda e: (e[0][0], order[e[0][1]]))
]
print(json.dumps({"found": found, "expected": expected}))
