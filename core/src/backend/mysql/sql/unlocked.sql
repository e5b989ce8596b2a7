-- Which of the rows nobody else has locked; at least one row is the answer.
SELECT $question AS question, t.name AS asked
FROM (SELECT 1 AS one) AS base LEFT JOIN $table AS t FORCE INDEX (PRIMARY) ON t.name IN ($names)
FOR UPDATE SKIP LOCKED
