-- The newest version of every document, deleted ones included.
SELECT documents.* FROM documents
JOIN (SELECT kind, name, max(version) AS version FROM documents GROUP BY kind, name) AS newest
  USING (kind, name, version)
ORDER BY kind, name
