"""`python -m factory_chassis.healthcheck` asks the service beside it whether it is well: 0 for `ok`, 1 for anything else.

What a container's health check runs every few seconds, so it imports the standard library alone, and little of it.
"""

import http.client
import os
import sys


def ask(port: int) -> tuple[bool, str]:
    """Whether /health says `ok`, and what it said."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=4)
    try:
        connection.request("GET", "/health")
        answer = connection.getresponse()
        return answer.status == 200, answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as e:
        return False, f"no answer from port {port}: {e}"
    finally:
        connection.close()


def main() -> None:
    well, said = ask(int(os.environ.get("FACTORY_HEALTH_PORT", "0")))
    sys.stdout.write(said + "\n")
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
