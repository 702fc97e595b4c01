-- One version of a document. :kind, :name, :version. 0 or 1 row.
SELECT * FROM documents WHERE kind = :kind AND name = :name AND version = :version
