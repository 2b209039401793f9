"""The HTTP server: OpenAI's routes over models that think before they draw. `create_app` makes the application."""
