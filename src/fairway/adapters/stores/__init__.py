"""What is kept: the journal, its checkpoints and the durable inbox in one SQLite file, the projection in another.

``sqlite.SqliteStore`` is the leader's end of ``fairway.db``, ``inbox.Inbox`` a face's, ``reader.JournalReader`` any
reader's. ``projection.Projection`` folds the state into ``views.db``, which ``queries`` reads and which may be deleted
at any time. ``salvage`` repairs what a disk has damaged.
"""
