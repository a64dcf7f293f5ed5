-- Trust counts enrolments, of every registrar.
DROP TABLE explorer_admission;
