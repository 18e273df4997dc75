SELECT source_rows.`id` AS `id`, source_rows.`term` AS `term`, source_rows.`amount` AS `amount`, source_rows.`tags` AS `tags`, XXHASH64('salt', COALESCE(CAST(LENGTH(CAST(source_rows.`id` AS STRING)) AS STRING) || ':' || CAST(source_rows.`id` AS STRING), '-') || COALESCE(CAST(LENGTH(CAST(source_rows.`term` AS STRING)) AS STRING) || ':' || CAST(source_rows.`term` AS STRING), '-') || COALESCE(CAST(LENGTH(CAST(source_rows.`amount` AS STRING)) AS STRING) || ':' || CAST(source_rows.`amount` AS STRING), '-') || COALESCE(CAST(LENGTH(TO_JSON(source_rows.`tags`)) AS STRING) || ':' || TO_JSON(source_rows.`tags`), '-') || COALESCE(CAST(LENGTH(CAST(child0.`digest` AS STRING)) AS STRING) || ':' || CAST(child0.`digest` AS STRING), '-')) AS `stripe_sync_hash` FROM `shop`.`plans` source_rows LEFT JOIN (SELECT CAST(source_rows.`sub` AS STRING) AS `parent`, CAST(COUNT(*) AS STRING) || ':' || CAST(SUM(CAST(XXHASH64('salt', COALESCE(CAST(LENGTH(CAST(source_rows.`sub` AS STRING)) AS STRING) || ':' || CAST(source_rows.`sub` AS STRING), '-') || COALESCE(CAST(LENGTH(CAST(source_rows.`seats` AS STRING)) AS STRING) || ':' || CAST(source_rows.`seats` AS STRING), '-')) AS DECIMAL(38, 0))) AS STRING) AS `digest` FROM (
select * from lines -- all
) source_rows GROUP BY CAST(source_rows.`sub` AS STRING)) AS child0 ON CAST(source_rows.`id` AS STRING) = child0.`parent`;

SELECT CASE WHEN now.`is_row` IS NULL THEN 'gone' WHEN known.`key` IS NULL THEN 'new' ELSE 'changed' END AS `stripe_sync_kind`, COALESCE(now.`stripe_sync_key`, known.`key`) AS `stripe_sync_key`, now.`stripe_sync_hash` AS `stripe_sync_hash`, now.`id` AS `id`, now.`term` AS `term`, now.`amount` AS `amount`, now.`tags` AS `tags` FROM (SELECT source_rows.`id` AS `id`, source_rows.`term` AS `term`, source_rows.`amount` AS `amount`, source_rows.`tags` AS `tags`, '["' || REPLACE(REPLACE(CAST(source_rows.`id` AS STRING), '\\', '\\\\'), '"', '\\"') || '","' || REPLACE(REPLACE(CAST(source_rows.`term` AS STRING), '\\', '\\\\'), '"', '\\"') || '"]' AS `stripe_sync_key`, XXHASH64('salt', COALESCE(CAST(LENGTH(CAST(source_rows.`id` AS STRING)) AS STRING) || ':' || CAST(source_rows.`id` AS STRING), '-') || COALESCE(CAST(LENGTH(CAST(source_rows.`term` AS STRING)) AS STRING) || ':' || CAST(source_rows.`term` AS STRING), '-') || COALESCE(CAST(LENGTH(CAST(source_rows.`amount` AS STRING)) AS STRING) || ':' || CAST(source_rows.`amount` AS STRING), '-') || COALESCE(CAST(LENGTH(TO_JSON(source_rows.`tags`)) AS STRING) || ':' || TO_JSON(source_rows.`tags`), '-') || COALESCE(CAST(LENGTH(CAST(child0.`digest` AS STRING)) AS STRING) || ':' || CAST(child0.`digest` AS STRING), '-')) AS `stripe_sync_hash`, 1 AS `is_row` FROM `shop`.`plans` source_rows LEFT JOIN (SELECT CAST(source_rows.`sub` AS STRING) AS `parent`, CAST(COUNT(*) AS STRING) || ':' || CAST(SUM(CAST(XXHASH64('salt', COALESCE(CAST(LENGTH(CAST(source_rows.`sub` AS STRING)) AS STRING) || ':' || CAST(source_rows.`sub` AS STRING), '-') || COALESCE(CAST(LENGTH(CAST(source_rows.`seats` AS STRING)) AS STRING) || ':' || CAST(source_rows.`seats` AS STRING), '-')) AS DECIMAL(38, 0))) AS STRING) AS `digest` FROM (
select * from lines -- all
) source_rows GROUP BY CAST(source_rows.`sub` AS STRING)) AS child0 ON CAST(source_rows.`id` AS STRING) = child0.`parent`) AS now FULL JOIN (SELECT `key`, MAX_BY(`row_hash`, `version`) AS `row_hash` FROM `stripe_sync`.`row_hashes_f4c1da5ad371ed02` GROUP BY `key` HAVING MAX_BY(`is_live`, `version`)) AS known ON now.`stripe_sync_key` = known.`key` WHERE NOT COALESCE(now.`stripe_sync_hash` = known.`row_hash`, FALSE) OR now.`stripe_sync_key` IN ('["1","it\'s"]', '["2","a\\\\b"]') UNION ALL SELECT 'counts' AS `stripe_sync_kind`, CAST(COUNT(*) AS STRING) || ' ' || CAST(COUNT(CASE WHEN ('["' || REPLACE(REPLACE(CAST(source_rows.`id` AS STRING), '\\', '\\\\'), '"', '\\"') || '","' || REPLACE(REPLACE(CAST(source_rows.`term` AS STRING), '\\', '\\\\'), '"', '\\"') || '"]') IS NULL THEN 1 END) AS STRING) || ' ' || CAST((SELECT COUNT(*) FROM (SELECT `key`, MAX_BY(`row_hash`, `version`) AS `row_hash` FROM `stripe_sync`.`row_hashes_f4c1da5ad371ed02` GROUP BY `key` HAVING MAX_BY(`is_live`, `version`)) AS known) AS STRING) AS `stripe_sync_key`, NULL AS `stripe_sync_hash`, NULL AS `id`, NULL AS `term`, NULL AS `amount`, NULL AS `tags` FROM `shop`.`plans` source_rows;

SELECT * FROM (
select * from lines -- all
) source_rows WHERE CAST(source_rows.`sub` AS STRING) IN ('1', '2');

CREATE SCHEMA IF NOT EXISTS `stripe_sync`;

CREATE TABLE IF NOT EXISTS `stripe_sync`.`row_hash_marks` (`state_id` STRING, `sync` STRING, `table_name` STRING, `hashes` BIGINT, `digest` STRING, `version` BIGINT);

INSERT INTO `stripe_sync`.`row_hash_marks` (`state_id`, `sync`, `table_name`, `hashes`, `digest`, `version`) VALUES ('state', 'it\'s a sync', 'row_hashes_f4c1da5ad371ed02', 0, '', 1);

DROP TABLE IF EXISTS `stripe_sync`.`row_hashes_f4c1da5ad371ed02`;

CREATE TABLE IF NOT EXISTS `stripe_sync`.`row_hashes_f4c1da5ad371ed02` (`key` STRING, `row_hash` BIGINT, `is_live` BOOLEAN, `version` BIGINT);

INSERT INTO `stripe_sync`.`row_hashes_f4c1da5ad371ed02` (`key`, `row_hash`, `is_live`, `version`) SELECT `key`, `row_hash`, TRUE, 1 FROM stripe_sync_staged;

DROP TABLE stripe_sync_staged;

INSERT INTO `stripe_sync`.`row_hash_marks` (`state_id`, `sync`, `table_name`, `hashes`, `digest`, `version`) VALUES ('state', 'it\'s a sync', 'row_hashes_f4c1da5ad371ed02', 3, '2.0:7', 2);

SELECT `known`.`key`, `known`.`row_hash` FROM (SELECT `key`, MAX_BY(`row_hash`, `version`) AS `row_hash` FROM `stripe_sync`.`row_hashes_f4c1da5ad371ed02` GROUP BY `key` HAVING MAX_BY(`is_live`, `version`)) AS known JOIN stripe_sync_staged AS staged ON `known`.`key` = `staged`.`key`;

INSERT INTO `stripe_sync`.`row_hash_marks` (`state_id`, `sync`, `table_name`, `hashes`, `digest`, `version`) VALUES ('state', 'it\'s a sync', 'row_hashes_f4c1da5ad371ed02', 0, '', 3);

INSERT INTO `stripe_sync`.`row_hashes_f4c1da5ad371ed02` (`key`, `row_hash`, `is_live`, `version`) SELECT `key`, `row_hash`, `is_live`, 3 FROM stripe_sync_staged;

INSERT INTO `stripe_sync`.`row_hash_marks` (`state_id`, `sync`, `table_name`, `hashes`, `digest`, `version`) VALUES ('state', 'it\'s a sync', 'row_hashes_f4c1da5ad371ed02', 3, '2.0:7', 4);

DROP TABLE stripe_sync_staged;
