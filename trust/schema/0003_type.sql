-- Policies are a handful among a hundred thousand enrolments.
CREATE INDEX trust_document_type ON trust_document (type, seq);
