SELECT source_rows."id" AS "id", source_rows."term" AS "term", source_rows."amount" AS "amount", source_rows."tags" AS "tags", HASHINT4EXTENDED(0, COALESCE(HASHINT8EXTENDED(source_rows."id", 3139252179431106219) # HASHINT8EXTENDED(source_rows."id" >> 32, 3139252179431106220), 8946543460028965080) # COALESCE(HASHTEXTEXTENDED(CAST(source_rows."term" AS TEXT) COLLATE "C", 2180123654167919319), 1365756281322074708) # COALESCE(HASHTEXTEXTENDED(CAST(source_rows."amount" AS TEXT) COLLATE "C", 4785758092869237856), 2977133903106817395) # COALESCE(HASHTEXTEXTENDED(CAST(source_rows."tags" AS TEXT) COLLATE "C", 6862159453408163574), 4238529964960103445) # COALESCE(HASHTEXTEXTENDED(CAST(child0."digest" AS TEXT) COLLATE "C", 2201450691098703164), 8909832193740134737)) AS "stripe_sync_hash" FROM "shop"."plans" source_rows LEFT JOIN (SELECT CAST(source_rows."sub" AS TEXT) AS "parent", CAST(COUNT(*) AS TEXT) || ':' || CAST(SUM(CAST(HASHINT4EXTENDED(0, COALESCE(HASHINT8EXTENDED(source_rows."sub", 3139252179431106219) # HASHINT8EXTENDED(source_rows."sub" >> 32, 3139252179431106220), 8946543460028965080) # COALESCE(HASHTEXTEXTENDED(CAST(source_rows."seats" AS TEXT) COLLATE "C", 2180123654167919319), 1365756281322074708)) AS DECIMAL(38, 0))) AS TEXT) AS "digest" FROM (
select * from lines -- all
) source_rows GROUP BY CAST(source_rows."sub" AS TEXT)) AS child0 ON CAST(source_rows."id" AS TEXT) = child0."parent";

SELECT source_rows."id" AS "id", source_rows."term" AS "term", source_rows."amount" AS "amount", source_rows."tags" AS "tags", HASHINT4EXTENDED(0, COALESCE(HASHINT8EXTENDED(source_rows."id", 3139252179431106219) # HASHINT8EXTENDED(source_rows."id" >> 32, 3139252179431106220), 8946543460028965080) # COALESCE(HASHTEXTEXTENDED(CAST(source_rows."term" AS TEXT) COLLATE "C", 2180123654167919319), 1365756281322074708) # COALESCE(HASHTEXTEXTENDED(CAST(source_rows."amount" AS TEXT) COLLATE "C", 4785758092869237856), 2977133903106817395) # COALESCE(HASHTEXTEXTENDED(CAST(source_rows."tags" AS TEXT) COLLATE "C", 6862159453408163574), 4238529964960103445) # COALESCE(HASHTEXTEXTENDED(CAST(child0."digest" AS TEXT) COLLATE "C", 2201450691098703164), 8909832193740134737)) AS "stripe_sync_hash" FROM "shop"."plans" source_rows LEFT JOIN (SELECT CAST(source_rows."sub" AS TEXT) AS "parent", CAST(COUNT(*) AS TEXT) || ':' || CAST(SUM(CAST(HASHINT4EXTENDED(0, COALESCE(HASHINT8EXTENDED(source_rows."sub", 3139252179431106219) # HASHINT8EXTENDED(source_rows."sub" >> 32, 3139252179431106220), 8946543460028965080) # COALESCE(HASHTEXTEXTENDED(CAST(source_rows."seats" AS TEXT) COLLATE "C", 2180123654167919319), 1365756281322074708)) AS DECIMAL(38, 0))) AS TEXT) AS "digest" FROM (
select * from lines -- all
) source_rows GROUP BY CAST(source_rows."sub" AS TEXT)) AS child0 ON CAST(source_rows."id" AS TEXT) = child0."parent" WHERE FALSE;

SELECT COUNT(*) AS "stripe_sync_rows", COALESCE(BIT_XOR(now."stripe_sync_hash"), 0) AS "stripe_sync_digest" FROM (SELECT HASHINT4EXTENDED(0, COALESCE(HASHINT8EXTENDED(source_rows."id", 3139252179431106219) # HASHINT8EXTENDED(source_rows."id" >> 32, 3139252179431106220), 8946543460028965080) # COALESCE(HASHTEXTEXTENDED(CAST(source_rows."term" AS TEXT) COLLATE "C", 2180123654167919319), 1365756281322074708) # COALESCE(HASHTEXTEXTENDED(CAST(source_rows."amount" AS TEXT) COLLATE "C", 4785758092869237856), 2977133903106817395) # COALESCE(HASHTEXTEXTENDED(CAST(source_rows."tags" AS TEXT) COLLATE "C", 6862159453408163574), 4238529964960103445) # COALESCE(HASHTEXTEXTENDED(CAST(child0."digest" AS TEXT) COLLATE "C", 2201450691098703164), 8909832193740134737)) AS "stripe_sync_hash" FROM "shop"."plans" source_rows LEFT JOIN (SELECT CAST(source_rows."sub" AS TEXT) AS "parent", CAST(COUNT(*) AS TEXT) || ':' || CAST(SUM(CAST(HASHINT4EXTENDED(0, COALESCE(HASHINT8EXTENDED(source_rows."sub", 3139252179431106219) # HASHINT8EXTENDED(source_rows."sub" >> 32, 3139252179431106220), 8946543460028965080) # COALESCE(HASHTEXTEXTENDED(CAST(source_rows."seats" AS TEXT) COLLATE "C", 2180123654167919319), 1365756281322074708)) AS DECIMAL(38, 0))) AS TEXT) AS "digest" FROM (
select * from lines -- all
) source_rows GROUP BY CAST(source_rows."sub" AS TEXT)) AS child0 ON CAST(source_rows."id" AS TEXT) = child0."parent") AS now;

SELECT CASE WHEN found."stripe_sync_key" IS NULL THEN 'new' WHEN found."rows" > 1 THEN 'twice' WHEN found."rows" = 0 THEN 'gone' WHEN found."hashes" = 0 THEN 'new' ELSE 'changed' END AS "stripe_sync_kind", found."stripe_sync_key" AS "stripe_sync_key", found."stripe_sync_hash" AS "stripe_sync_hash", source_rows."id" AS "id", source_rows."term" AS "term", source_rows."amount" AS "amount", source_rows."tags" AS "tags" FROM (SELECT COALESCE('["' || REPLACE(REPLACE(CAST(now."id" AS TEXT), '\', '\\'), '"', '\"') || '","' || REPLACE(REPLACE(CAST(now."term" AS TEXT), '\', '\\'), '"', '\"') || '"]', known."key") AS "stripe_sync_key", MAX(now."stripe_sync_hash") AS "stripe_sync_hash", COUNT(now."stripe_sync_hash") AS "rows", COUNT(known."key") AS "hashes" FROM (SELECT source_rows."id" AS "id", source_rows."term" AS "term", HASHINT4EXTENDED(0, COALESCE(HASHINT8EXTENDED(source_rows."id", 3139252179431106219) # HASHINT8EXTENDED(source_rows."id" >> 32, 3139252179431106220), 8946543460028965080) # COALESCE(HASHTEXTEXTENDED(CAST(source_rows."term" AS TEXT) COLLATE "C", 2180123654167919319), 1365756281322074708) # COALESCE(HASHTEXTEXTENDED(CAST(source_rows."amount" AS TEXT) COLLATE "C", 4785758092869237856), 2977133903106817395) # COALESCE(HASHTEXTEXTENDED(CAST(source_rows."tags" AS TEXT) COLLATE "C", 6862159453408163574), 4238529964960103445) # COALESCE(HASHTEXTEXTENDED(CAST(child0."digest" AS TEXT) COLLATE "C", 2201450691098703164), 8909832193740134737)) AS "stripe_sync_hash" FROM "shop"."plans" source_rows LEFT JOIN (SELECT CAST(source_rows."sub" AS TEXT) AS "parent", CAST(COUNT(*) AS TEXT) || ':' || CAST(SUM(CAST(HASHINT4EXTENDED(0, COALESCE(HASHINT8EXTENDED(source_rows."sub", 3139252179431106219) # HASHINT8EXTENDED(source_rows."sub" >> 32, 3139252179431106220), 8946543460028965080) # COALESCE(HASHTEXTEXTENDED(CAST(source_rows."seats" AS TEXT) COLLATE "C", 2180123654167919319), 1365756281322074708)) AS DECIMAL(38, 0))) AS TEXT) AS "digest" FROM (
select * from lines -- all
) source_rows GROUP BY CAST(source_rows."sub" AS TEXT)) AS child0 ON CAST(source_rows."id" AS TEXT) = child0."parent") AS now FULL JOIN (SELECT "key", "row_hash" FROM "stripe_sync"."row_hashes_f4c1da5ad371ed02") AS known ON now."stripe_sync_hash" = known."row_hash" WHERE (now."stripe_sync_hash" IS NULL OR known."row_hash" IS NULL) OR COALESCE('["' || REPLACE(REPLACE(CAST(now."id" AS TEXT), '\', '\\'), '"', '\"') || '","' || REPLACE(REPLACE(CAST(now."term" AS TEXT), '\', '\\'), '"', '\"') || '"]', known."key") IN ('["1","it''s"]', '["2","a\\b"]') GROUP BY COALESCE('["' || REPLACE(REPLACE(CAST(now."id" AS TEXT), '\', '\\'), '"', '\"') || '","' || REPLACE(REPLACE(CAST(now."term" AS TEXT), '\', '\\'), '"', '\"') || '"]', known."key")) AS found LEFT JOIN "shop"."plans" source_rows ON ('["' || REPLACE(REPLACE(CAST(source_rows."id" AS TEXT), '\', '\\'), '"', '\"') || '","' || REPLACE(REPLACE(CAST(source_rows."term" AS TEXT), '\', '\\'), '"', '\"') || '"]') = found."stripe_sync_key" UNION ALL SELECT 'counts' AS "stripe_sync_kind", CAST(COUNT(*) AS TEXT) || ' ' || CAST(COUNT(CASE WHEN source_rows."id" IS NULL OR source_rows."term" IS NULL THEN 1 END) AS TEXT) || ' ' || CAST((SELECT COUNT(*) FROM (SELECT "key", "row_hash" FROM "stripe_sync"."row_hashes_f4c1da5ad371ed02") AS known) AS TEXT) AS "stripe_sync_key", NULL AS "stripe_sync_hash", NULL AS "id", NULL AS "term", NULL AS "amount", NULL AS "tags" FROM "shop"."plans" source_rows;

SELECT * FROM (
select * from lines -- all
) source_rows WHERE CAST(source_rows."sub" AS TEXT) IN ('1', '2');

CREATE SCHEMA IF NOT EXISTS "stripe_sync";

CREATE TABLE IF NOT EXISTS "stripe_sync"."row_hash_marks" ("state_id" TEXT, "sync" TEXT, "table_name" TEXT, "hashes" BIGINT, "digest" TEXT, "version" BIGINT);

INSERT INTO "stripe_sync"."row_hash_marks" ("state_id", "sync", "table_name", "hashes", "digest", "version") VALUES ('state', 'it''s a sync', 'row_hashes_f4c1da5ad371ed02', 0, '', 1);

DELETE FROM "stripe_sync"."row_hash_marks" WHERE "state_id" = 'state' AND "sync" = 'it''s a sync' AND "version" < 1;

DROP TABLE IF EXISTS "stripe_sync"."row_hashes_f4c1da5ad371ed02";

CREATE TABLE IF NOT EXISTS "stripe_sync"."row_hashes_f4c1da5ad371ed02" ("key" TEXT, "row_hash" BIGINT);

INSERT INTO "stripe_sync"."row_hashes_f4c1da5ad371ed02" ("key", "row_hash") SELECT "key", "row_hash" FROM stripe_sync_staged;

DROP TABLE stripe_sync_staged;

ANALYZE "stripe_sync"."row_hashes_f4c1da5ad371ed02";

INSERT INTO "stripe_sync"."row_hash_marks" ("state_id", "sync", "table_name", "hashes", "digest", "version") VALUES ('state', 'it''s a sync', 'row_hashes_f4c1da5ad371ed02', 3, '2.0:7', 2);

DELETE FROM "stripe_sync"."row_hash_marks" WHERE "state_id" = 'state' AND "sync" = 'it''s a sync' AND "version" < 2;

SELECT "known"."key", "known"."row_hash" FROM (SELECT "key", "row_hash" FROM "stripe_sync"."row_hashes_f4c1da5ad371ed02") AS known JOIN stripe_sync_staged AS staged ON "known"."key" = "staged"."key";

INSERT INTO "stripe_sync"."row_hash_marks" ("state_id", "sync", "table_name", "hashes", "digest", "version") VALUES ('state', 'it''s a sync', 'row_hashes_f4c1da5ad371ed02', 0, '', 3);

DELETE FROM "stripe_sync"."row_hash_marks" WHERE "state_id" = 'state' AND "sync" = 'it''s a sync' AND "version" < 3;

DELETE FROM "stripe_sync"."row_hashes_f4c1da5ad371ed02" WHERE "key" IN (SELECT "key" FROM stripe_sync_staged);

INSERT INTO "stripe_sync"."row_hashes_f4c1da5ad371ed02" ("key", "row_hash") SELECT "key", "row_hash" FROM (SELECT "key", "row_hash" FROM stripe_sync_staged WHERE "is_live") AS live;

INSERT INTO "stripe_sync"."row_hash_marks" ("state_id", "sync", "table_name", "hashes", "digest", "version") VALUES ('state', 'it''s a sync', 'row_hashes_f4c1da5ad371ed02', 3, '2.0:7', 4);

DELETE FROM "stripe_sync"."row_hash_marks" WHERE "state_id" = 'state' AND "sync" = 'it''s a sync' AND "version" < 4;

DROP TABLE stripe_sync_staged;
