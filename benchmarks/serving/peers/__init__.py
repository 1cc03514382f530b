"""The same runtime behind other servers, each written as recommended by its documentation."""
