-- What is known of a tracker's employee beside the number.
ALTER TABLE device ADD COLUMN employee_record TEXT; -- JSON object, NULL nothing
