"""What running for a long time needs beside the work: logs, metrics, probes, and ending in time."""
