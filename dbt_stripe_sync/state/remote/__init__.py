"""The state on an object store, for runners whose disk is gone a minute later.

How the data flows:

1. `wiring` opens the state with a `RemotePlace` (`state/place.py`: a URL and one folder for each dbt target). Nobody
   else knows that it is remote: the engine keeps to `engine.ports.State`, and only the package `state` knows tables.
2. `lease.py` takes the one writer's lease, a small object written on condition that nobody else wrote it meanwhile.
3. `replica.py` brings the local copy to the end of the log: it downloads the newest snapshot where the copy is of
   another place or older, and replays the entries after it.
4. `engine/apply/journal.py` groups intents and outcomes as always, and `StateStore.commit` writes a group in one
   `Session.transaction`. Just before that commits, what it executed is put as ONE new object of the log (`log.py`),
   under the next number, on condition that no such object exists. Only then the local file commits, and only then a
   call leaves: no call is ever ahead of the log, and the local file never is either.
5. Who has lost its lease finds that number taken by the next runner, which begins by writing an entry of its own. So
   two runners can't both go on, whatever their clocks say; the lease only keeps them from trying.
6. Every so often, and as the run ends, the file is folded: uploaded as a snapshot, which is an entry of the log as
   well. `head.json` names the newest one, and entries before it are removed. What no replay can repeat (a new format,
   an import, values that are hashed from now on) is folded before anything else is written.

The entries are statements with their values, so whatever a transaction of the state does, runs and settings among it,
is in the log: its identity, its serial and the key that signs plans. Each entry names the digest of the one before.
"""
