"""A headless Chromium, steered by its DevTools protocol over a pair of pipes."""
import base64, json, os, select, shutil, subprocess, tempfile, time

PROGRAMS = ("chromium-headless-shell", "chromium", "google-chrome")
HANG = 60


class Browser:
    def __init__(self, inside):
        program = next(filter(None, map(shutil.which, PROGRAMS)))
        self.home = tempfile.mkdtemp(prefix="acton-page-")
        (to_it, self.out), (self.into, from_it) = os.pipe(), os.pipe()

        def pipes():
            # It reads 3 and writes 4.
            os.dup2(to_it, 63), os.dup2(from_it, 64), os.dup2(63, 3), os.dup2(64, 4)

        command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe",
                   f"--user-data-dir={self.home}", "--disable-background-networking", "about:blank"]
        self.process = subprocess.Popen(inside(command), preexec_fn=pipes, close_fds=False, stderr=subprocess.DEVNULL,
                                        env=dict(os.environ, HOME=self.home))
        os.close(to_it), os.close(from_it)
        self.number, self.rest, self.session, self.events = 0, b"", None, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(domain + ".enable")
        self.size(1280, 860)

    def call(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + HANG
        while True:
            while b"\0" in self.rest:
                one, self.rest = self.rest.split(b"\0", 1)
                answer = json.loads(one)
                if answer.get("id") == self.number:
                    if "error" in answer:
                        raise RuntimeError(f"{method}: {answer['error']}")
                    return answer["result"]
                self.events.append(answer)
            if not select.select([self.into], [], [], max(0, until - time.monotonic()))[0]:
                raise TimeoutError(method)
            self.rest += os.read(self.into, 1 << 20)

    def open(self, url):
        self.call("Page.navigate", url=url)

    def go(self, hash):
        self.value(f"location.hash = {json.dumps(hash)}")

    def value(self, script):
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"].get("description", script))
        return answer["result"].get("value")

    def until(self, script, seconds=HANG):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                if self.value(f"Boolean({script})"):
                    return True
            except RuntimeError:
                pass  # a page that is not there yet
            time.sleep(0.1)
        return False

    def type(self, where, text):
        self.value(f"document.querySelector({json.dumps(where)}).focus()")
        self.call("Input.insertText", text=text)

    def size(self, width, height):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)

    def scheme(self, scheme):
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def shot(self, path):
        picture = self.call("Page.captureScreenshot", format="png")["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(picture))

    def told(self):
        """What the browser complains of: refused styles, errors in scripts."""
        said = []
        for event in self.events:
            if event.get("method") == "Log.entryAdded":
                said.append(event["params"]["entry"]["text"])
            if event.get("method") == "Runtime.exceptionThrown":
                said.append(event["params"]["exceptionDetails"]["exception"].get("description", "an exception"))
        return said

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.out), os.close(self.into)
        shutil.rmtree(self.home, ignore_errors=True)
