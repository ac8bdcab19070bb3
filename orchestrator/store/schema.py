"""What readers without SQLAlchemy must know of the tables; a test holds it to `tables`."""

#: The newest migration. A store at an older one is migrated on opening, one at a newer one is refused.
SCHEMA = "0001"

#: Columns that hold times (microseconds since 1970 UTC) and money (decimal text).
TIMES = frozenset(
    (
        *("created_at", "running_at", "ends_at", "ended_at", "owner_until", "started_at", "accepted_at"),
        *("asked_end_at", "last_seen_at", "watch_until", "found_at", "gone_at", "at", "until", "placed_at"),
        *("next_at", "updated_at"),
    )
)
MONEY = frozenset(("promised_total_usd", "promised_usd_per_hour"))
