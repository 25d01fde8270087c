"""The least that a cold answer can cost: GET the object, joblib.load it.

A program: for each line "BUCKET KEY" it prints the milliseconds that this took. The URL of the S3 server
is its argument; credentials stand in the environment.
"""

import io
import sys
import time

import boto3
import joblib


def main() -> None:
    """Until its input ends."""
    client = boto3.session.Session().client("s3", endpoint_url=sys.argv[1])
    for line in sys.stdin:
        bucket, key = line.split()
        began_s = time.perf_counter()
        joblib.load(io.BytesIO(client.get_object(Bucket=bucket, Key=key)["Body"].read()))
        print((time.perf_counter() - began_s) * 1e3, flush=True)


if __name__ == "__main__":
    main()
