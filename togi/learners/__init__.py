"""Several processes that learn one run together: ``starting.py`` starts those beside the first and says which one is
lost, ``following.py`` is what each of them does. The first samples, scores, credits and decides; it knows of the others
only that its policy has ranks."""
