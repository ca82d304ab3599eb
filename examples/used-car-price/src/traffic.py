"""Sends the cars of a listings file to the price service, as buyers would who look at these listings.

    traffic.py --url http://127.0.0.1:8080 --from listings.csv --count 1000
"""
import argparse
import http.client
import json
import random
import statistics
import time
import urllib.parse

from clean import clean_listings
from features import service_input


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", required=True)
    parser.add_argument("--from", dest="source", required=True)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    # Cleaned as for training: what a site's form lets a visitor enter is about what cleaning lets through.
    cars = [row for row, reason in clean_listings(args.source) if reason is None]
    requests = [json.dumps(service_input(row)) for row in random.Random(args.seed).choices(cars, k=args.count)]

    service = http.client.HTTPConnection(urllib.parse.urlsplit(args.url).netloc, timeout=10)
    prices, errors, start = [], [], time.monotonic()
    for request in requests:
        service.request("POST", "/v1/estimate", request, {"Content-Type": "application/json"})
        response = service.getresponse()
        answer = json.loads(response.read())
        if response.status == 200:
            prices.append(answer["price"])
        else:
            errors.append(answer["error"])
    seconds = time.monotonic() - start

    median = f", median price {statistics.median(prices):,.0f} EUR" if prices else ""
    print(f"{len(prices)} cars priced, {len(errors)} errors{median}, {seconds:.1f} s")
    if errors:
        raise SystemExit(f"first error: {errors[0]}")


if __name__ == "__main__":
    main()
