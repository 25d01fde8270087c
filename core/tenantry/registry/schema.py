"""The registry's tables (SQLAlchemy Core); `migrations/` builds exactly these, and a test compares.

Times are seconds since the epoch by the database's own clock. A revision is a number from one global
counter, given in commit order to every change of a row that servers follow.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    false,
    text,
)

metadata = MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_name)s", "pk": "pk_%(table_name)s"}
)

leader = Table(
    "leader",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # one row, id 1
    Column("epoch", BigInteger, nullable=False),  # fencing token: grows with every new leader
    Column("revision", BigInteger, nullable=False),  # the last one given out
    Column("holder", Text, nullable=False),
    Column("source", Text, nullable=False),  # what this registry follows; empty until the first
    # Random, as a restore takes numbers back: of the present leader, and of its last write.
    Column("token", String(32), nullable=False, server_default=text("''")),
    Column("mark", String(32), nullable=False, server_default=text("''")),
)

history = Table(
    "history",
    metadata,
    # The last revision of each commit; one that was lost and given out again has another token.
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("token", String(32), nullable=False),
)

claims = Table(
    "claims",
    metadata,
    Column("uid", String(64), primary_key=True),
    Column("namespace", String(63), nullable=False),
    Column("name", Text, nullable=False),  # a file's path where its document has no name
    Column("user_id", String(253)),  # null where the document never parsed
    Column("origin", Text, nullable=False),  # the file it stands in; empty on Kubernetes
    Column("created_at", Double, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("spec", JSON(none_as_null=True)),  # the newest valid one; null where there was none
    # The status, as it would stand on a Kubernetes object.
    Column("observed_generation", BigInteger, nullable=False),
    Column("model_id", Text),
    Column("size_bytes", BigInteger),
    Column("conditions", JSON, nullable=False),
    # For people who look through them (`browsing`), both bounded, so that they fit an index.
    Column("title", String(320), nullable=False, server_default=text("''")),  # namespace/name
    Column("reason", String(64), nullable=False, server_default=text("''")),  # of the conditions
)
Index(None, claims.c.user_id)
# With the user id at the end, so that a search reads the index alone.
Index(None, claims.c.title, claims.c.uid, claims.c.user_id)
Index(None, claims.c.reason, claims.c.title, claims.c.uid, claims.c.user_id)

assignments = Table(
    "assignments",
    metadata,
    Column("user_id", String(253), primary_key=True),
    Column("uid", String(64), nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("model_id", Text),  # what every server answers with; null until one version has loaded
    Column("size_bytes", BigInteger),  # of model_id, measured in memory by the server that loaded it
    Column("candidate_id", Text),  # the next model_id, until its owner has loaded it
    Column("revision", BigInteger, nullable=False),
    Column("deleted", Boolean, nullable=False),  # a tombstone, until every server has passed it
    # Load it before anybody asks; a default, as an older operator inserts rows without it.
    Column("prewarm", Boolean, nullable=False, server_default=false()),
    Column("replicas", Integer, nullable=False, server_default=text("1")),  # servers that hold it, at least
    Column("limits", Text, nullable=False, server_default=text("''")),  # of the user, as JSON; empty: none
)
Index(None, assignments.c.revision)

bindings = Table(
    "bindings",
    metadata,
    # Which namespace declared a user first; it outlives the TenantModel, until an admin releases the user.
    Column("user_id", String(253), primary_key=True),
    Column("namespace", String(63), nullable=False),
)

releases = Table(
    "releases",
    metadata,
    # Users that an admin released; the operator removes the row together with the binding.
    Column("user_id", String(253), primary_key=True),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", String(16), primary_key=True),
    Column("digest", String(64), nullable=False),  # SHA-256 of the whole key, which is stored nowhere
    Column("users", Text, nullable=False),  # patterns of user ids, with spaces between them
    Column("scope", String(16), nullable=False),  # predict | admin
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),  # null: never
)

key_marks = Table(
    "key_marks",
    metadata,
    # One row: random, and another number after every change of a key, so that servers ask for it alone.
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("mark", BigInteger, nullable=False),
)

shard_map = Table(
    "shard_map",
    metadata,
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("server_id", String(253), nullable=False),  # answers for its users
    Column("revision", BigInteger, nullable=False),
    # Takes it over once it has loaded what is hot; null where nobody does.
    Column("next_id", String(253)),
)
Index(None, shard_map.c.revision)

spread = Table(
    "spread",
    metadata,
    # Users that are asked for so often that one server is not enough, by what was measured.
    Column("user_id", String(253), primary_key=True),
    Column("replicas", Integer, nullable=False),  # 1: no more than the rest
    Column("revision", BigInteger, nullable=False),
)
Index(None, spread.c.revision)

servers = Table(
    "servers",
    metadata,
    Column("server_id", String(253), primary_key=True),
    Column("endpoint", Text, nullable=False),
    Column("acked_revision", BigInteger, nullable=False),
    Column("lease_until", Double, nullable=False),
    Column("capacity_bytes", BigInteger, nullable=False),
    Column("used_bytes", BigInteger, nullable=False),
    # Defaults, as a server of the release before does not know these.
    Column("prepared_revision", BigInteger, nullable=False, server_default=text("-1")),
    Column("leaving", Boolean, nullable=False, server_default=false()),
    Column("load", Double, nullable=False, server_default=text("0")),  # busy share of its core, 0 to 1
    Column("busiest", JSON, nullable=False, server_default=text("'{}'")),  # user id -> share of the load
    Column("lease_s", Double),  # how long each renewal counts; null: a server of an older release
)

loads = Table(
    "loads",
    metadata,
    # What a server says of the candidate that it tried; the operator takes the row away with its answer.
    Column("user_id", String(253), primary_key=True),
    Column("server_id", String(253), primary_key=True),
    Column("model_id", Text, nullable=False),
    Column("state", String(16), nullable=False),  # loaded | failed | retrying
    Column("size_bytes", BigInteger),
    Column("reason", String(64), nullable=False),
    Column("message", Text, nullable=False),
)

faults = Table(
    "faults",
    metadata,
    # Models in force that a server can't load, or doubts; it removes the row once that is over.
    Column("user_id", String(253), primary_key=True),
    Column("server_id", String(253), primary_key=True),
    Column("model_id", Text, nullable=False),
    Column("reason", String(64), nullable=False),
    Column("message", Text, nullable=False),
    Column("state", String(16), nullable=False),  # stalled | retrying | doubted
    Column("at", Double, nullable=False),
    Column("mark", BigInteger, nullable=False),  # random: count and sum tell a reader whether any changed
)

strikes = Table(
    "strikes",
    metadata,
    # Models that ended a worker process, or took longer than they may; forgotten after an hour.
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("model_id", Text, nullable=False),
    Column("writer", String(300), nullable=False),  # a server, and which of its processes
    Column("at", Double, nullable=False),
    Column("how", Text, nullable=False),  # in words
)
Index(None, strikes.c.at)

hot = Table(
    "hot",
    metadata,
    # Whom a server answered last. One row a server: a thousand would be rewritten every minute.
    Column("server_id", String(253), primary_key=True),
    Column("user_ids", JSON, nullable=False),  # the most important first
    Column("seen_at", Double, nullable=False),
    Column("requests", JSON),  # of each of the users, lately; null: a server of an older release wrote it
)

costs = Table(
    "costs",
    metadata,
    # What a tenant has cost on a server on a day; the server adds to it every hour.
    Column("day", String(10), primary_key=True),  # of UTC, as 2026-11-30
    Column("user_id", String(253), primary_key=True),  # empty: tenants that were not counted one by one
    Column("server_id", String(253), primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("errors", BigInteger, nullable=False),
    Column("cpu_s", Double, nullable=False),
    Column("byte_hours", Double, nullable=False),
)
