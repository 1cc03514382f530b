"""A day of review photos is inspected by Airflow: docs/airflow.md."""
