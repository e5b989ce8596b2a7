"""A write with SQLAlchemy that a holder who came too late cannot do: the row
remembers the largest fence that it has seen, and refuses smaller ones.

    python guarded_write.py [URL of the lock's backend] [URL of the database]
"""

import sys

from sqlalchemy import BigInteger, Engine, create_engine, select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import leasehold


class Base(DeclarativeBase):
    pass


class Account(Base):
    __tablename__ = "accounts"
    id: Mapped[int] = mapped_column(primary_key=True)
    balance: Mapped[int]
    fence: Mapped[int] = mapped_column(BigInteger, default=0)


class TooLate(Exception):
    """Somebody holds the lock who came later."""


def read(session: Session, account: int, fence: int) -> int:
    """The first thing that a holder does: from here on, earlier ones are refused."""
    seen = (
        update(Account)
        .where(Account.id == account, Account.fence <= fence)
        .values(fence=fence)
        .returning(Account.balance)
    )
    balance = session.execute(seen).scalar_one_or_none()
    if balance is None:
        raise TooLate(account)
    return balance


def write(session: Session, account: int, balance: int, fence: int) -> None:
    guarded = (
        update(Account)
        .where(Account.id == account, Account.fence <= fence)
        .values(balance=balance, fence=fence)
        .returning(Account.id)
    )
    if session.execute(guarded).scalar_one_or_none() is None:
        raise TooLate(account)


def deposit(client: leasehold.Client, engine: Engine, account: int, amount: int) -> None:
    with client.lock(f"accounts/{account}") as lease:
        with Session(engine) as session, session.begin():
            balance = read(session, account, lease.fence)
        # However long this takes, and whoever holds the lock by then:
        with Session(engine) as session, session.begin():
            write(session, account, balance + amount, lease.fence)


if __name__ == "__main__":
    locks = sys.argv[1] if len(sys.argv) > 1 else "memory:"
    database = sys.argv[2] if len(sys.argv) > 2 else "sqlite://"
    engine = create_engine(database)
    Base.metadata.create_all(engine)
    with leasehold.connect(locks) as client:
        with Session(engine) as session, session.begin():
            if session.get(Account, 1) is None:
                session.add(Account(id=1, balance=0))
        deposit(client, engine, account=1, amount=5)
        with Session(engine) as session:
            print("balance", session.execute(select(Account.balance)).scalar_one())
