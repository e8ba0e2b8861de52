"""Every figure of docs/benchmarks.md is one command here, on data it generates itself.

python -m benchmarks          all of them, and docs/benchmarks.md anew
python -m benchmarks.ingest   one of them: a table and, last, a line of JSON
"""
