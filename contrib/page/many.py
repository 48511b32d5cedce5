"""A proxy before a real server that makes many sessions of the few it has. Also shows another page."""
import http.client, json, random, subprocess, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer



class Many:
    def __init__(self, world, rows):
        """With no rows, what there is stays as it is."""
        self.http = f"127.0.0.1:{9274 if rows else 9275}"
        command = [sys.executable, __file__, world.HTTP, self.http, str(rows)] + ([world.page] if world.page else [])
        world.processes.append(subprocess.Popen(world.inside(command)))
        time.sleep(1)


class Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"

    def log_message(self, *_):
        pass

    def do_GET(self):
        behind = http.client.HTTPConnection(sys.argv[1])
        behind.request("GET", self.path)
        answer = behind.getresponse()
        self.send_response(answer.status)
        is_page = self.path == "/" and len(sys.argv) > 4
        for name in ("Content-Type",) + (() if is_page else ("Content-Security-Policy",)):
            self.send_header(name, answer.headers[name])
        self.end_headers()
        if is_page:
            return self.wfile.write(open(sys.argv[4], "rb").read())
        if self.path == "/status.json" and int(sys.argv[3]):
            return self.wfile.write(json.dumps(multiplied(json.load(answer), int(sys.argv[3]))).encode())
        try:
            while piece := answer.read1():
                self.wfile.write(piece)
                self.wfile.flush()
        except OSError:
            pass  # the browser has gone elsewhere


def multiplied(status, rows):
    dice, few, status["sessions"] = random.Random(1), status["sessions"], []
    now = time.time()
    for number in range(rows):
        session = json.loads(json.dumps(few[number % len(few)]))
        session.update(number=number, name=f"client-{number}", key=None, address=f"198.51.{number >> 8}.{number & 255}:{2000 + number}")
        session["state"] = dice.choices(["up", "quiet", "lost"], [96, 1, 3])[0]
        speed = dice.lognormvariate(9, 2)
        for way in ("bytes_in", "bytes_out"):
            session["traffic"][way] = int(speed * (now % 1e6))
        if session.get("rtt"):
            session["rtt"]["smoothed_seconds"] = dice.lognormvariate(-3.8, 0.8)
        status["sessions"].append(session)
    return status


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2].split(":")[1])), Proxy).serve_forever()
