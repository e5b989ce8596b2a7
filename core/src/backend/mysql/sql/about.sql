SELECT $question AS question, version, label FROM $table WHERE name = ''
UNION ALL SELECT $question, 0, NULL ORDER BY version DESC LIMIT 1
