"""Writes a database of countries in MaxMind's format.

usage: geography.py FILE NETWORK=COUNTRY...
"""

import sys

from mmdb_writer import MMDBWriter
from netaddr import IPSet


def main():
    file, *places = sys.argv[1:]
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="Test-Country")
    for place in places:
        network, _, country = place.partition("=")
        writer.insert_network(IPSet([network]), {"country": {"iso_code": country}})
    writer.to_db_file(file)


if __name__ == "__main__":
    main()
