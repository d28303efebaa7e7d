"""OpenAI's protocol as a server has it: ``http_door.py`` says who may ask and how much, ``read_request.py`` reads what
is asked, ``replies.py`` lays answers out. It knows no engine and nobody who answers."""
