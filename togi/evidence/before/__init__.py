"""Before training: previews, the doctor, forecasts of cost, advice on tasks, pairs and machine. Nothing is trained."""
