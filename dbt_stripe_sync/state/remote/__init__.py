"""Keeps the state on an object store, for runners without a permanent disk.

How the data flows:

1. `wiring` opens the state with a `RemotePlace` (`state/place.py`: a URL and one folder for each dbt target). No other
   part knows that the state is remote. The engine uses `engine.ports.State`, and only the package `state` knows tables.
2. `lease.py` takes the lease of the one writer: a small object that is written only if nobody else has written it.
3. `reading.py` updates the local copy to the end of the log. It downloads the newest snapshot if the copy is older or
   belongs to another state, and replays the entries after it.
4. `engine/apply/journal.py` groups intents and outcomes, and `StateStore.commit` writes a group in one
   `Session.transaction`. Just before the commit, `replica.py` writes the executed statements as ONE new object of
   the log (`log.py`), under the next number, on condition that no such object exists. Then the local file commits, and
   only then a call leaves. So neither a call nor the local file is ever ahead of the log.
5. A run that has lost its lease finds that number taken: the next run begins by writing its own entry. So two runs
   can't both continue, even if their clocks differ. The lease only keeps them from trying.
6. From time to time, and at the end of the run, the file is uploaded as a snapshot, which is an entry of the log, too.
   `head.json` names the newest snapshot, and entries before it are removed. Some changes can't be replayed: a new
   format, an import, values that are hashed from now on. After one of these, a snapshot is taken before anything else
   is written.

The entries are statements with their values. So the log contains everything that a transaction of the state does,
including runs and settings, the state's identity, its serial, and the key that signs plans. Each entry contains the
digest of the one before.
"""
