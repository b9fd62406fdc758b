"""One run: its job, queue, threads and stages."""
