SELECT source_rows.`id` AS `id`, source_rows.`term` AS `term`, source_rows.`amount` AS `amount`, source_rows.`tags` AS `tags`, XXHASH64('salt', COALESCE(CAST(LENGTH(CAST(source_rows.`id` AS STRING)) AS STRING) || ':' || CAST(source_rows.`id` AS STRING), '-') || COALESCE(CAST(LENGTH(CAST(source_rows.`term` AS STRING)) AS STRING) || ':' || CAST(source_rows.`term` AS STRING), '-') || COALESCE(CAST(LENGTH(CAST(source_rows.`amount` AS STRING)) AS STRING) || ':' || CAST(source_rows.`amount` AS STRING), '-') || COALESCE(CAST(LENGTH(TO_JSON(source_rows.`tags`)) AS STRING) || ':' || TO_JSON(source_rows.`tags`), '-') || COALESCE(CAST(LENGTH(CAST(child0.`digest` AS STRING)) AS STRING) || ':' || CAST(child0.`digest` AS STRING), '-')) AS `stripe_sync_hash` FROM `shop`.`plans` source_rows LEFT JOIN (SELECT CAST(source_rows.`sub` AS STRING) AS `parent`, CAST(COUNT(*) AS STRING) || ':' || CAST(SUM(CAST(XXHASH64('salt', COALESCE(CAST(LENGTH(CAST(source_rows.`sub` AS STRING)) AS STRING) || ':' || CAST(source_rows.`sub` AS STRING), '-') || COALESCE(CAST(LENGTH(CAST(source_rows.`seats` AS STRING)) AS STRING) || ':' || CAST(source_rows.`seats` AS STRING), '-')) AS DECIMAL(38, 0))) AS STRING) AS `digest` FROM (
select * from lines -- all
) source_rows GROUP BY CAST(source_rows.`sub` AS STRING)) AS child0 ON CAST(source_rows.`id` AS STRING) = child0.`parent`;

SELECT source_rows.`id` AS `id`, source_rows.`term` AS `term`, source_rows.`amount` AS `amount`, source_rows.`tags` AS `tags`, XXHASH64('salt', COALESCE(CAST(LENGTH(CAST(source_rows.`id` AS STRING)) AS STRING) || ':' || CAST(source_rows.`id` AS STRING), '-') || COALESCE(CAST(LENGTH(CAST(source_rows.`term` AS STRING)) AS STRING) || ':' || CAST(source_rows.`term` AS STRING), '-') || COALESCE(CAST(LENGTH(CAST(source_rows.`amount` AS STRING)) AS STRING) || ':' || CAST(source_rows.`amount` AS STRING), '-') || COALESCE(CAST(LENGTH(TO_JSON(source_rows.`tags`)) AS STRING) || ':' || TO_JSON(source_rows.`tags`), '-') || COALESCE(CAST(LENGTH(CAST(child0.`digest` AS STRING)) AS STRING) || ':' || CAST(child0.`digest` AS STRING), '-')) AS `stripe_sync_hash` FROM `shop`.`plans` source_rows LEFT JOIN (SELECT CAST(source_rows.`sub` AS STRING) AS `parent`, CAST(COUNT(*) AS STRING) || ':' || CAST(SUM(CAST(XXHASH64('salt', COALESCE(CAST(LENGTH(CAST(source_rows.`sub` AS STRING)) AS STRING) || ':' || CAST(source_rows.`sub` AS STRING), '-') || COALESCE(CAST(LENGTH(CAST(source_rows.`seats` AS STRING)) AS STRING) || ':' || CAST(source_rows.`seats` AS STRING), '-')) AS DECIMAL(38, 0))) AS STRING) AS `digest` FROM (
select * from lines -- all
) source_rows GROUP BY CAST(source_rows.`sub` AS STRING)) AS child0 ON CAST(source_rows.`id` AS STRING) = child0.`parent` WHERE FALSE;

SELECT COUNT(*) AS `stripe_sync_rows`, COALESCE(BIT_XOR(now.`stripe_sync_hash`), 0) AS `stripe_sync_digest` FROM (SELECT XXHASH64('salt', COALESCE(CAST(LENGTH(CAST(source_rows.`id` AS STRING)) AS STRING) || ':' || CAST(source_rows.`id` AS STRING), '-') || COALESCE(CAST(LENGTH(CAST(source_rows.`term` AS STRING)) AS STRING) || ':' || CAST(source_rows.`term` AS STRING), '-') || COALESCE(CAST(LENGTH(CAST(source_rows.`amount` AS STRING)) AS STRING) || ':' || CAST(source_rows.`amount` AS STRING), '-') || COALESCE(CAST(LENGTH(TO_JSON(source_rows.`tags`)) AS STRING) || ':' || TO_JSON(source_rows.`tags`), '-') || COALESCE(CAST(LENGTH(CAST(child0.`digest` AS STRING)) AS STRING) || ':' || CAST(child0.`digest` AS STRING), '-')) AS `stripe_sync_hash` FROM `shop`.`plans` source_rows LEFT JOIN (SELECT CAST(source_rows.`sub` AS STRING) AS `parent`, CAST(COUNT(*) AS STRING) || ':' || CAST(SUM(CAST(XXHASH64('salt', COALESCE(CAST(LENGTH(CAST(source_rows.`sub` AS STRING)) AS STRING) || ':' || CAST(source_rows.`sub` AS STRING), '-') || COALESCE(CAST(LENGTH(CAST(source_rows.`seats` AS STRING)) AS STRING) || ':' || CAST(source_rows.`seats` AS STRING), '-')) AS DECIMAL(38, 0))) AS STRING) AS `digest` FROM (
select * from lines -- all
) source_rows GROUP BY CAST(source_rows.`sub` AS STRING)) AS child0 ON CAST(source_rows.`id` AS STRING) = child0.`parent`) AS now;

SELECT CASE WHEN found.`stripe_sync_key` IS NULL THEN 'new' WHEN found.`rows` > 1 THEN 'twice' WHEN found.`rows` = 0 THEN 'gone' WHEN found.`hashes` = 0 THEN 'new' ELSE 'changed' END AS `stripe_sync_kind`, found.`stripe_sync_key` AS `stripe_sync_key`, found.`stripe_sync_hash` AS `stripe_sync_hash`, source_rows.`id` AS `id`, source_rows.`term` AS `term`, source_rows.`amount` AS `amount`, source_rows.`tags` AS `tags` FROM (SELECT COALESCE('["' || REPLACE(REPLACE(CAST(now.`id` AS STRING), '\\', '\\\\'), '"', '\\"') || '","' || REPLACE(REPLACE(CAST(now.`term` AS STRING), '\\', '\\\\'), '"', '\\"') || '"]', known.`key`) AS `stripe_sync_key`, MAX(now.`stripe_sync_hash`) AS `stripe_sync_hash`, COUNT(now.`stripe_sync_hash`) AS `rows`, COUNT(known.`key`) AS `hashes` FROM (SELECT source_rows.`id` AS `id`, source_rows.`term` AS `term`, XXHASH64('salt', COALESCE(CAST(LENGTH(CAST(source_rows.`id` AS STRING)) AS STRING) || ':' || CAST(source_rows.`id` AS STRING), '-') || COALESCE(CAST(LENGTH(CAST(source_rows.`term` AS STRING)) AS STRING) || ':' || CAST(source_rows.`term` AS STRING), '-') || COALESCE(CAST(LENGTH(CAST(source_rows.`amount` AS STRING)) AS STRING) || ':' || CAST(source_rows.`amount` AS STRING), '-') || COALESCE(CAST(LENGTH(TO_JSON(source_rows.`tags`)) AS STRING) || ':' || TO_JSON(source_rows.`tags`), '-') || COALESCE(CAST(LENGTH(CAST(child0.`digest` AS STRING)) AS STRING) || ':' || CAST(child0.`digest` AS STRING), '-')) AS `stripe_sync_hash` FROM `shop`.`plans` source_rows LEFT JOIN (SELECT CAST(source_rows.`sub` AS STRING) AS `parent`, CAST(COUNT(*) AS STRING) || ':' || CAST(SUM(CAST(XXHASH64('salt', COALESCE(CAST(LENGTH(CAST(source_rows.`sub` AS STRING)) AS STRING) || ':' || CAST(source_rows.`sub` AS STRING), '-') || COALESCE(CAST(LENGTH(CAST(source_rows.`seats` AS STRING)) AS STRING) || ':' || CAST(source_rows.`seats` AS STRING), '-')) AS DECIMAL(38, 0))) AS STRING) AS `digest` FROM (
select * from lines -- all
) source_rows GROUP BY CAST(source_rows.`sub` AS STRING)) AS child0 ON CAST(source_rows.`id` AS STRING) = child0.`parent`) AS now FULL JOIN (SELECT `key`, `row_hash` FROM `stripe_sync`.`row_hashes_f4c1da5ad371ed02`) AS known ON now.`stripe_sync_hash` = known.`row_hash` WHERE (now.`stripe_sync_hash` IS NULL OR known.`row_hash` IS NULL) OR COALESCE('["' || REPLACE(REPLACE(CAST(now.`id` AS STRING), '\\', '\\\\'), '"', '\\"') || '","' || REPLACE(REPLACE(CAST(now.`term` AS STRING), '\\', '\\\\'), '"', '\\"') || '"]', known.`key`) IN ('["1","it\'s"]', '["2","a\\\\b"]') GROUP BY COALESCE('["' || REPLACE(REPLACE(CAST(now.`id` AS STRING), '\\', '\\\\'), '"', '\\"') || '","' || REPLACE(REPLACE(CAST(now.`term` AS STRING), '\\', '\\\\'), '"', '\\"') || '"]', known.`key`)) AS found LEFT JOIN `shop`.`plans` source_rows ON ('["' || REPLACE(REPLACE(CAST(source_rows.`id` AS STRING), '\\', '\\\\'), '"', '\\"') || '","' || REPLACE(REPLACE(CAST(source_rows.`term` AS STRING), '\\', '\\\\'), '"', '\\"') || '"]') = found.`stripe_sync_key` UNION ALL SELECT 'counts' AS `stripe_sync_kind`, CAST(COUNT(*) AS STRING) || ' ' || CAST(COUNT(CASE WHEN source_rows.`id` IS NULL OR source_rows.`term` IS NULL THEN 1 END) AS STRING) || ' ' || CAST((SELECT COUNT(*) FROM (SELECT `key`, `row_hash` FROM `stripe_sync`.`row_hashes_f4c1da5ad371ed02`) AS known) AS STRING) AS `stripe_sync_key`, NULL AS `stripe_sync_hash`, NULL AS `id`, NULL AS `term`, NULL AS `amount`, NULL AS `tags` FROM `shop`.`plans` source_rows;

SELECT * FROM (
select * from lines -- all
) source_rows WHERE CAST(source_rows.`sub` AS STRING) IN ('1', '2');

CREATE SCHEMA IF NOT EXISTS `stripe_sync`;

CREATE TABLE IF NOT EXISTS `stripe_sync`.`row_hash_marks` (`state_id` STRING, `sync` STRING, `table_name` STRING, `hashes` BIGINT, `digest` STRING, `version` BIGINT);

INSERT INTO `stripe_sync`.`row_hash_marks` (`state_id`, `sync`, `table_name`, `hashes`, `digest`, `version`) VALUES ('state', 'it\'s a sync', 'row_hashes_f4c1da5ad371ed02', 0, '', 1);

DELETE FROM `stripe_sync`.`row_hash_marks` WHERE `state_id` = 'state' AND `sync` = 'it\'s a sync' AND `version` < 1;

DROP TABLE IF EXISTS `stripe_sync`.`row_hashes_f4c1da5ad371ed02`;

CREATE TABLE IF NOT EXISTS `stripe_sync`.`row_hashes_f4c1da5ad371ed02` (`key` STRING, `row_hash` BIGINT);

INSERT INTO `stripe_sync`.`row_hashes_f4c1da5ad371ed02` (`key`, `row_hash`) SELECT `key`, `row_hash` FROM stripe_sync_staged;

DROP TABLE stripe_sync_staged;

INSERT INTO `stripe_sync`.`row_hash_marks` (`state_id`, `sync`, `table_name`, `hashes`, `digest`, `version`) VALUES ('state', 'it\'s a sync', 'row_hashes_f4c1da5ad371ed02', 3, '2.0:7', 2);

DELETE FROM `stripe_sync`.`row_hash_marks` WHERE `state_id` = 'state' AND `sync` = 'it\'s a sync' AND `version` < 2;

SELECT `known`.`key`, `known`.`row_hash` FROM (SELECT `key`, `row_hash` FROM `stripe_sync`.`row_hashes_f4c1da5ad371ed02`) AS known JOIN stripe_sync_staged AS staged ON `known`.`key` = `staged`.`key`;

INSERT INTO `stripe_sync`.`row_hash_marks` (`state_id`, `sync`, `table_name`, `hashes`, `digest`, `version`) VALUES ('state', 'it\'s a sync', 'row_hashes_f4c1da5ad371ed02', 0, '', 3);

DELETE FROM `stripe_sync`.`row_hash_marks` WHERE `state_id` = 'state' AND `sync` = 'it\'s a sync' AND `version` < 3;

DELETE FROM `stripe_sync`.`row_hashes_f4c1da5ad371ed02` WHERE `key` IN (SELECT `key` FROM stripe_sync_staged);

INSERT INTO `stripe_sync`.`row_hashes_f4c1da5ad371ed02` (`key`, `row_hash`) SELECT `key`, `row_hash` FROM (SELECT `key`, `row_hash` FROM stripe_sync_staged WHERE `is_live`) AS live;

INSERT INTO `stripe_sync`.`row_hash_marks` (`state_id`, `sync`, `table_name`, `hashes`, `digest`, `version`) VALUES ('state', 'it\'s a sync', 'row_hashes_f4c1da5ad371ed02', 3, '2.0:7', 4);

DELETE FROM `stripe_sync`.`row_hash_marks` WHERE `state_id` = 'state' AND `sync` = 'it\'s a sync' AND `version` < 4;

DROP TABLE stripe_sync_staged;
