"""A FastAPI endpoint that charges an invoice once, however often it is asked.

    LEASEHOLD_URL=redis://127.0.0.1 LEDGER=/tmp/ledger.db uvicorn charge_once:app --workers 2
"""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException

import leasehold

client = leasehold.connect(os.environ["LEASEHOLD_URL"], label="charges")
ledger = sqlite3.connect(os.environ["LEDGER"], isolation_level=None)
ledger.execute("CREATE TABLE IF NOT EXISTS charges (invoice INTEGER, fence INTEGER)")


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with client:
        yield


app = FastAPI(lifespan=lifespan)


async def charge_the_card(invoice: int, fence: int) -> None:
    await asyncio.sleep(0.05)  # the payment provider
    ledger.execute("INSERT INTO charges VALUES (?, ?)", (invoice, fence))


@app.post("/invoices/{invoice}/charge")
async def charge(invoice: int) -> dict[str, bool]:
    try:
        # The task is cancelled if the lease is lost: then nothing more is charged.
        async with client.lock(f"invoices/{invoice}", ttl=10, wait=5) as lease:
            paid = ledger.execute("SELECT 1 FROM charges WHERE invoice = ?", (invoice,))
            if paid.fetchone():
                return {"charged": False}
            await charge_the_card(invoice, lease.fence)
            return {"charged": True}
    except leasehold.LockTimeout as busy:
        raise HTTPException(409, "another request charges this invoice") from busy
    except (leasehold.LeaseLost, leasehold.Unavailable) as trouble:
        raise HTTPException(503, "try again") from trouble
