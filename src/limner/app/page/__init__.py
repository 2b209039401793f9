"""The page: draw, ask, edit, extend and talk in a browser, on the server that answers the API."""
