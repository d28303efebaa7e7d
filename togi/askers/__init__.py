"""Models that are asked in words, whatever for: one in this process, or one at a server.

``asker.py`` has the nouns and the protocol; ``local_model.py`` and ``server_model.py`` answer, the latter through
``openai_client.py`` and with every reply kept by ``reply_cache.py``; ``open_asker.py`` opens whom settings name
(``who_is_asked.py``). What was asked and answered by whomever is written down by ``togi/transcript.py``.
"""
