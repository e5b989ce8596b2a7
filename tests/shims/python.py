"""The face of leasehold in Python, for scenarios: does what a line of JSON says, answers
with a line. It knows no time and repeats nothing.

    python python.py            asyncio: every call is a task
    python python.py --sync     threads: every call has one of its own
"""

import asyncio
import json
import os
import socket
import sys
import threading

import leasehold

SYNC = "--sync" in sys.argv
OPTIONS = ("ttl", "wait", "max_hold", "auto_renew", "label", "shared", "permits")


class OwnFailure(Exception):
    """What the body of a block fails with when it is told to."""


class Shim:
    def __init__(self):
        self.client = None
        self.leases = {}
        self.terms = {}
        self.running = {}  # tasks, by the number of their call
        self.working = {}  # what ends a block, by the number of its call
        self.lines = sys.stdout

    async def handle(self, request):
        number = request["id"]
        try:
            self.say(number, ok=await self.act(request) or {})
        except asyncio.CancelledError:
            self.fail(number, "cancelled")
        except leasehold.LeaseholdError as e:
            self.fail(number, e.code, e.outcome, str(e))
        except OwnFailure:
            self.fail(number, "own")
        except BaseException as e:  # a bug, of the shim or of the binding
            self.fail(number, "shim", None, repr(e))
        finally:
            self.running.pop(number, None)

    async def act(self, request):
        verb, name, lock = request["do"], request.get("lease"), request.get("lock")
        match verb:
            case "connect":
                options = {key: request[key] for key in OPTIONS if key in request}
                client = leasehold.connect(request["url"], **options)
                await call(client, "connect")
                self.client = client
            case "acquire":
                return self.keep(name, await call(self.lock(request), "acquire"))
            case "try":
                return self.keep(name, await call(self.lock(request), "try_acquire"))
            case "work":
                await self.work(request)
            case "give":
                return {"ticket": await call(self.leases[name], "into_ticket")}
            case "adopt":
                return self.keep(name, await call(self.client, "adopt", request["ticket"]))
            case "once":
                once = self.client.once(lock, every=request["every"])
                done = await call(once, "run", lambda: None)
                return {"ran": isinstance(done, leasehold.Ran)}
            case "campaign":
                options = {key: request[key] for key in ("ttl", "value") if key in request}
                campaign = self.client.election(lock, **options).campaign()
                self.terms[name] = await call(campaign, "acquire")
            case "resign":
                await call(self.terms.pop(name), "resign")
            case "leader":
                leader = await call(self.client.election(lock), "leader")
                return {"value": leader and leader.value}
            case "release" | "renew":
                await call(self.leases[name], verb)
            case "drop":
                del self.leases[name]
            case "look":
                return {"lease": shown(self.leases[name])}
            case "lost":
                return {"why": await why(self.leases[name])}
            case "status":
                status = await call(self.client, "status", lock)
                return {"status": status and shown_status(status)}
            case "list":
                return {"locks": [status.name for status in await call(self.client, "list")]}
            case "break":
                return {"was_held": await call(self.client, "break_lock", lock)}
            case "close":
                await call(self.client, "close")
            case other:
                raise ValueError(f"{other} is unknown here")

    async def work(self, request):
        """The language's own block."""
        number, lock = request["id"], self.lock(request)
        if SYNC:
            finish = self.working[number] = ThreadFinish()
            with lock as lease:
                self.say(number, began={"lease": shown(lease)})
                # What a thread does must look by itself whether it may go on.
                while not finish.wait(0.02) and not lease.lost.is_set():
                    pass
                raise_if(finish.raises)
        else:
            finish = self.working[number] = asyncio.get_running_loop().create_future()
            async with lock as lease:
                self.say(number, began={"lease": shown(lease)})
                raise_if(await finish)

    def lock(self, request):
        options = {key: request[key] for key in OPTIONS if key in request}
        return self.client.lock(request["lock"], **options)

    def keep(self, name, lease):
        if lease is not None:
            self.leases[name] = lease
        return {"lease": lease and shown(lease)}

    def fail(self, number, code, outcome=None, message=""):
        self.say(number, error={"code": code, "outcome": outcome, "message": message})

    def say(self, number, **what):
        # One write, so that lines of several threads do not mix.
        self.lines.write(json.dumps({"id": number, **what}) + "\n")
        self.lines.flush()

    def fork(self, request):
        """Answers the lines of the child, in the child."""
        sys.stdout.flush()
        child = os.fork()
        if child:
            self.say(request["id"], ok={"pid": child})
            return None
        caller = socket.socket(socket.AF_UNIX)
        caller.connect(request["path"])
        self.lines = caller.makefile("w")
        self.running, self.working = {}, {}
        return caller.makefile("r")

    def serve_threads(self, lines):
        for request in map(json.loads, iter(lines.readline, "")):
            match request["do"]:
                case "fork":
                    child = self.fork(request)
                    if child:
                        self.serve_threads(child)
                        os._exit(0)
                case "finish":
                    self.working[request["call"]].set(request["raise"])
                case _:
                    # Daemons, so that a program ends though one of them waits.
                    threading.Thread(target=run, args=[self.handle(request)], daemon=True).start()

    async def serve_tasks(self, lines):
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, lines.readline):
            request = json.loads(line)
            match request["do"]:
                case "fork":
                    child = self.fork(request)
                    if child:
                        # The loop of the parent is not there for the child.
                        asyncio._set_running_loop(None)
                        asyncio.run(self.serve_tasks(child))
                        os._exit(0)
                case "finish":
                    self.working[request["call"]].set_result(request["raise"])
                case "cancel":
                    if task := self.running.get(request["call"]):
                        task.cancel()
                case _:
                    self.running[request["id"]] = asyncio.create_task(self.handle(request))


class ThreadFinish(threading.Event):
    raises = False

    def set(self, raises):
        self.raises = raises
        super().set()


def raise_if(raises):
    if raises:
        raise OwnFailure


async def call(of, method, *arguments):
    """The one of two methods that is for this way of using locks."""
    if SYNC:
        return getattr(of, method)(*arguments)
    return await getattr(of, method + "_async")(*arguments)


async def why(lease):
    if SYNC:
        lease.lost.wait()
        return lease.lost.reason
    return await lease.lost


def run(work):
    """Run what never waits for an event loop, in this thread."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise RuntimeError("it waits for an event loop")


def shown(lease):
    return {
        "fence": lease.fence,
        "ttl": lease.ttl,
        "remaining": lease.remaining,
        "valid": lease.is_valid,
        "lost": lease.lost.reason,
        "key": lease.key,
        "slot": lease.slot,
    }


def shown_status(status):
    return {
        "fence": status.fence,
        "holder": status.holder and status.holder.label,
        "waiters": status.waiters,
    }


if __name__ == "__main__":
    if SYNC:
        Shim().serve_threads(sys.stdin)
    else:
        asyncio.run(Shim().serve_tasks(sys.stdin))
