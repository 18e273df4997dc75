SELECT source_rows."id" AS "id", source_rows."term" AS "term", source_rows."amount" AS "amount", source_rows."tags" AS "tags", FARMFINGERPRINT64(COALESCE(CAST(LENGTH('salt') AS VARCHAR(MAX)) || ':' || 'salt', '-') || COALESCE(CAST(LENGTH(CAST(source_rows."id" AS VARCHAR(65535))) AS VARCHAR(MAX)) || ':' || CAST(source_rows."id" AS VARCHAR(65535)), '-') || COALESCE(CAST(LENGTH(CAST(source_rows."term" AS VARCHAR(65535))) AS VARCHAR(MAX)) || ':' || CAST(source_rows."term" AS VARCHAR(65535)), '-') || COALESCE(CAST(LENGTH(CAST(source_rows."amount" AS VARCHAR(65535))) AS VARCHAR(MAX)) || ':' || CAST(source_rows."amount" AS VARCHAR(65535)), '-') || COALESCE(CAST(LENGTH(CAST(source_rows."tags" AS VARCHAR(65535))) AS VARCHAR(MAX)) || ':' || CAST(source_rows."tags" AS VARCHAR(65535)), '-') || COALESCE(CAST(LENGTH(CAST(child0."digest" AS VARCHAR(65535))) AS VARCHAR(MAX)) || ':' || CAST(child0."digest" AS VARCHAR(65535)), '-')) AS "stripe_sync_hash" FROM "shop"."plans" source_rows LEFT JOIN (SELECT CAST(source_rows."sub" AS VARCHAR(MAX)) AS "parent", CAST(COUNT(*) AS VARCHAR(MAX)) || ':' || CAST(SUM(CAST(FARMFINGERPRINT64(COALESCE(CAST(LENGTH('salt') AS VARCHAR(MAX)) || ':' || 'salt', '-') || COALESCE(CAST(LENGTH(CAST(source_rows."sub" AS VARCHAR(65535))) AS VARCHAR(MAX)) || ':' || CAST(source_rows."sub" AS VARCHAR(65535)), '-') || COALESCE(CAST(LENGTH(CAST(source_rows."seats" AS VARCHAR(65535))) AS VARCHAR(MAX)) || ':' || CAST(source_rows."seats" AS VARCHAR(65535)), '-')) AS DECIMAL(38, 0))) AS VARCHAR(MAX)) AS "digest" FROM (
select * from lines -- all
) source_rows GROUP BY CAST(source_rows."sub" AS VARCHAR(MAX))) AS child0 ON CAST(source_rows."id" AS VARCHAR(MAX)) = child0."parent";

SELECT source_rows."id" AS "id", source_rows."term" AS "term", source_rows."amount" AS "amount", source_rows."tags" AS "tags", FARMFINGERPRINT64(COALESCE(CAST(LENGTH('salt') AS VARCHAR(MAX)) || ':' || 'salt', '-') || COALESCE(CAST(LENGTH(CAST(source_rows."id" AS VARCHAR(65535))) AS VARCHAR(MAX)) || ':' || CAST(source_rows."id" AS VARCHAR(65535)), '-') || COALESCE(CAST(LENGTH(CAST(source_rows."term" AS VARCHAR(65535))) AS VARCHAR(MAX)) || ':' || CAST(source_rows."term" AS VARCHAR(65535)), '-') || COALESCE(CAST(LENGTH(CAST(source_rows."amount" AS VARCHAR(65535))) AS VARCHAR(MAX)) || ':' || CAST(source_rows."amount" AS VARCHAR(65535)), '-') || COALESCE(CAST(LENGTH(CAST(source_rows."tags" AS VARCHAR(65535))) AS VARCHAR(MAX)) || ':' || CAST(source_rows."tags" AS VARCHAR(65535)), '-') || COALESCE(CAST(LENGTH(CAST(child0."digest" AS VARCHAR(65535))) AS VARCHAR(MAX)) || ':' || CAST(child0."digest" AS VARCHAR(65535)), '-')) AS "stripe_sync_hash" FROM "shop"."plans" source_rows LEFT JOIN (SELECT CAST(source_rows."sub" AS VARCHAR(MAX)) AS "parent", CAST(COUNT(*) AS VARCHAR(MAX)) || ':' || CAST(SUM(CAST(FARMFINGERPRINT64(COALESCE(CAST(LENGTH('salt') AS VARCHAR(MAX)) || ':' || 'salt', '-') || COALESCE(CAST(LENGTH(CAST(source_rows."sub" AS VARCHAR(65535))) AS VARCHAR(MAX)) || ':' || CAST(source_rows."sub" AS VARCHAR(65535)), '-') || COALESCE(CAST(LENGTH(CAST(source_rows."seats" AS VARCHAR(65535))) AS VARCHAR(MAX)) || ':' || CAST(source_rows."seats" AS VARCHAR(65535)), '-')) AS DECIMAL(38, 0))) AS VARCHAR(MAX)) AS "digest" FROM (
select * from lines -- all
) source_rows GROUP BY CAST(source_rows."sub" AS VARCHAR(MAX))) AS child0 ON CAST(source_rows."id" AS VARCHAR(MAX)) = child0."parent" WHERE FALSE;

SELECT CASE WHEN found."stripe_sync_key" IS NULL THEN 'new' WHEN found."rows" > 1 THEN 'twice' WHEN found."rows" = 0 THEN 'gone' WHEN found."hashes" = 0 THEN 'new' ELSE 'changed' END AS "stripe_sync_kind", found."stripe_sync_key" AS "stripe_sync_key", found."stripe_sync_hash" AS "stripe_sync_hash", source_rows."id" AS "id", source_rows."term" AS "term", source_rows."amount" AS "amount", source_rows."tags" AS "tags" FROM (SELECT COALESCE('["' || REPLACE(REPLACE(CAST(now."id" AS VARCHAR(MAX)), '\\', '\\\\'), '"', '\\"') || '","' || REPLACE(REPLACE(CAST(now."term" AS VARCHAR(MAX)), '\\', '\\\\'), '"', '\\"') || '"]', known."key") AS "stripe_sync_key", MAX(now."stripe_sync_hash") AS "stripe_sync_hash", COUNT(now."stripe_sync_hash") AS "rows", COUNT(known."key") AS "hashes" FROM (SELECT source_rows."id" AS "id", source_rows."term" AS "term", FARMFINGERPRINT64(COALESCE(CAST(LENGTH('salt') AS VARCHAR(MAX)) || ':' || 'salt', '-') || COALESCE(CAST(LENGTH(CAST(source_rows."id" AS VARCHAR(65535))) AS VARCHAR(MAX)) || ':' || CAST(source_rows."id" AS VARCHAR(65535)), '-') || COALESCE(CAST(LENGTH(CAST(source_rows."term" AS VARCHAR(65535))) AS VARCHAR(MAX)) || ':' || CAST(source_rows."term" AS VARCHAR(65535)), '-') || COALESCE(CAST(LENGTH(CAST(source_rows."amount" AS VARCHAR(65535))) AS VARCHAR(MAX)) || ':' || CAST(source_rows."amount" AS VARCHAR(65535)), '-') || COALESCE(CAST(LENGTH(CAST(source_rows."tags" AS VARCHAR(65535))) AS VARCHAR(MAX)) || ':' || CAST(source_rows."tags" AS VARCHAR(65535)), '-') || COALESCE(CAST(LENGTH(CAST(child0."digest" AS VARCHAR(65535))) AS VARCHAR(MAX)) || ':' || CAST(child0."digest" AS VARCHAR(65535)), '-')) AS "stripe_sync_hash" FROM "shop"."plans" source_rows LEFT JOIN (SELECT CAST(source_rows."sub" AS VARCHAR(MAX)) AS "parent", CAST(COUNT(*) AS VARCHAR(MAX)) || ':' || CAST(SUM(CAST(FARMFINGERPRINT64(COALESCE(CAST(LENGTH('salt') AS VARCHAR(MAX)) || ':' || 'salt', '-') || COALESCE(CAST(LENGTH(CAST(source_rows."sub" AS VARCHAR(65535))) AS VARCHAR(MAX)) || ':' || CAST(source_rows."sub" AS VARCHAR(65535)), '-') || COALESCE(CAST(LENGTH(CAST(source_rows."seats" AS VARCHAR(65535))) AS VARCHAR(MAX)) || ':' || CAST(source_rows."seats" AS VARCHAR(65535)), '-')) AS DECIMAL(38, 0))) AS VARCHAR(MAX)) AS "digest" FROM (
select * from lines -- all
) source_rows GROUP BY CAST(source_rows."sub" AS VARCHAR(MAX))) AS child0 ON CAST(source_rows."id" AS VARCHAR(MAX)) = child0."parent") AS now FULL JOIN (SELECT "key", "row_hash" FROM "stripe_sync"."row_hashes_f4c1da5ad371ed02") AS known ON now."stripe_sync_hash" = known."row_hash" WHERE (now."stripe_sync_hash" IS NULL OR known."row_hash" IS NULL) OR COALESCE('["' || REPLACE(REPLACE(CAST(now."id" AS VARCHAR(MAX)), '\\', '\\\\'), '"', '\\"') || '","' || REPLACE(REPLACE(CAST(now."term" AS VARCHAR(MAX)), '\\', '\\\\'), '"', '\\"') || '"]', known."key") IN ('["1","it\'s"]', '["2","a\\\\b"]') GROUP BY COALESCE('["' || REPLACE(REPLACE(CAST(now."id" AS VARCHAR(MAX)), '\\', '\\\\'), '"', '\\"') || '","' || REPLACE(REPLACE(CAST(now."term" AS VARCHAR(MAX)), '\\', '\\\\'), '"', '\\"') || '"]', known."key")) AS found LEFT JOIN "shop"."plans" source_rows ON ('["' || REPLACE(REPLACE(CAST(source_rows."id" AS VARCHAR(MAX)), '\\', '\\\\'), '"', '\\"') || '","' || REPLACE(REPLACE(CAST(source_rows."term" AS VARCHAR(MAX)), '\\', '\\\\'), '"', '\\"') || '"]') = found."stripe_sync_key" UNION ALL SELECT 'counts' AS "stripe_sync_kind", CAST(COUNT(*) AS VARCHAR(MAX)) || ' ' || CAST(COUNT(CASE WHEN source_rows."id" IS NULL OR source_rows."term" IS NULL THEN 1 END) AS VARCHAR(MAX)) || ' ' || CAST((SELECT COUNT(*) FROM (SELECT "key", "row_hash" FROM "stripe_sync"."row_hashes_f4c1da5ad371ed02") AS known) AS VARCHAR(MAX)) AS "stripe_sync_key", NULL AS "stripe_sync_hash", NULL AS "id", NULL AS "term", NULL AS "amount", NULL AS "tags" FROM "shop"."plans" source_rows;

SELECT * FROM (
select * from lines -- all
) source_rows WHERE CAST(source_rows."sub" AS VARCHAR(MAX)) IN ('1', '2');

CREATE SCHEMA IF NOT EXISTS "stripe_sync";

CREATE TABLE IF NOT EXISTS "stripe_sync"."row_hash_marks" ("state_id" VARCHAR(MAX), "sync" VARCHAR(MAX), "table_name" VARCHAR(MAX), "hashes" BIGINT, "digest" VARCHAR(MAX), "version" BIGINT);

INSERT INTO "stripe_sync"."row_hash_marks" ("state_id", "sync", "table_name", "hashes", "digest", "version") VALUES ('state', 'it\'s a sync', 'row_hashes_f4c1da5ad371ed02', 0, '', 1);

DELETE FROM "stripe_sync"."row_hash_marks" WHERE "state_id" = 'state' AND "sync" = 'it\'s a sync' AND "version" < 1;

DROP TABLE IF EXISTS "stripe_sync"."row_hashes_f4c1da5ad371ed02";

CREATE TABLE IF NOT EXISTS "stripe_sync"."row_hashes_f4c1da5ad371ed02" ("key" VARCHAR(MAX), "row_hash" BIGINT);

INSERT INTO "stripe_sync"."row_hashes_f4c1da5ad371ed02" ("key", "row_hash") SELECT "key", "row_hash" FROM stripe_sync_staged;

DROP TABLE stripe_sync_staged;

INSERT INTO "stripe_sync"."row_hash_marks" ("state_id", "sync", "table_name", "hashes", "digest", "version") VALUES ('state', 'it\'s a sync', 'row_hashes_f4c1da5ad371ed02', 3, '2.0:7', 2);

DELETE FROM "stripe_sync"."row_hash_marks" WHERE "state_id" = 'state' AND "sync" = 'it\'s a sync' AND "version" < 2;

SELECT "known"."key", "known"."row_hash" FROM (SELECT "key", "row_hash" FROM "stripe_sync"."row_hashes_f4c1da5ad371ed02") AS known JOIN stripe_sync_staged AS staged ON "known"."key" = "staged"."key";

INSERT INTO "stripe_sync"."row_hash_marks" ("state_id", "sync", "table_name", "hashes", "digest", "version") VALUES ('state', 'it\'s a sync', 'row_hashes_f4c1da5ad371ed02', 0, '', 3);

DELETE FROM "stripe_sync"."row_hash_marks" WHERE "state_id" = 'state' AND "sync" = 'it\'s a sync' AND "version" < 3;

DELETE FROM "stripe_sync"."row_hashes_f4c1da5ad371ed02" WHERE "key" IN (SELECT "key" FROM stripe_sync_staged);

INSERT INTO "stripe_sync"."row_hashes_f4c1da5ad371ed02" ("key", "row_hash") SELECT "key", "row_hash" FROM (SELECT "key", "row_hash" FROM stripe_sync_staged WHERE "is_live") AS live;

INSERT INTO "stripe_sync"."row_hash_marks" ("state_id", "sync", "table_name", "hashes", "digest", "version") VALUES ('state', 'it\'s a sync', 'row_hashes_f4c1da5ad371ed02', 3, '2.0:7', 4);

DELETE FROM "stripe_sync"."row_hash_marks" WHERE "state_id" = 'state' AND "sync" = 'it\'s a sync' AND "version" < 4;

DROP TABLE stripe_sync_staged;
