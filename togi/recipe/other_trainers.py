"""What other trainers call the same things (TRL and transformers, verl, OpenRLHF, unsloth), and how a value converts.

A row a thing. It knows names and says what to do; where a key really stands is the schema's to say.
"""

from __future__ import annotations

from dataclasses import dataclass

NONE = ""  # no such key


@dataclass(frozen=True)
class Elsewhere:
    """``ours`` is the key here and where it stands, empty where there is none; ``advice`` says how the value converts,
    or why there is no such key."""

    ours: str
    advice: str

    @property
    def key(self) -> str:
        """The key alone."""
        return self.ours.partition(" ")[0]

    @property
    def is_setting(self) -> bool:
        """Whether only some algorithms have it."""
        return self.ours.endswith("[stage.settings]")

    def __str__(self) -> str:
        return f"here it is {self.ours}: {self.advice}" if self.ours else f"there is none here: {self.advice}"


_ROWS = (
    # How much is sampled and learned.
    ("num_generations n_samples_per_prompt n num_return_sequences group_size num_rollouts rollout_n",
     "attempts in [[stage]]", "the same number"),
    ("num_generations_eval eval_n n_val", "attempts in [evaluation]", "the same number"),
    ("gradient_accumulation_steps",
     "tasks_per_step in [[stage]]",
     "a step's samples make one update however memory splits them, so leave it out; tasks_per_step = "
     "per_device_train_batch_size * gradient_accumulation_steps * devices / attempts"),
    ("per_device_train_batch_size train_micro_batch_size_per_gpu",
     "tasks_per_step in [[stage]]",
     "tasks_per_step = per_device_train_batch_size * gradient_accumulation_steps * devices / attempts (without "
     "attempts where nothing is sampled); memory is bounded by tokens_per_microbatch, or by itself"),
    ("micro_batch_size micro_train_batch_size micro_rollout_batch_size ppo_micro_batch_size "
     "ppo_micro_batch_size_per_gpu log_prob_micro_batch_size_per_gpu ppo_max_token_len_per_gpu max_tokens_per_gpu "
     "per_device_eval_batch_size per_device_generation_batch_size eval_batch_size",
     "tokens_per_microbatch in [[stage]]",
     "it counts tokens and bounds memory, never the result; leave it out to take what is fastest"),
    ("rollout_batch_size generation_batch_size prompts_per_step", "tasks_per_step in [[stage]]",
     "where it counts completions, divide by attempts"),
    ("train_batch_size batch_size", "tasks_per_step in [[stage]]",
     "tasks (prompts) in a step, as in verl; where it counts the samples of one update, as in OpenRLHF, it is "
     "minibatches = tasks_per_step * attempts / train_batch_size"),
    ("ppo_mini_batch_size mini_batch_size", "minibatches in [[stage]]",
     "how many, not how large: minibatches = tasks_per_step / ppo_mini_batch_size"),
    ("num_mini_batches steps_per_generation", "minibatches in [[stage]]", "the same number"),
    ("num_iterations ppo_epochs num_ppo_epochs max_epochs", "epochs in [[stage]]", "the same number"),
    ("num_train_epochs total_epochs num_epochs num_episodes total_episodes", "steps in [[stage]]",
     "steps = epochs * tasks / tasks_per_step"),
    ("max_steps total_training_steps num_steps train_steps total_steps", "steps in [[stage]]",
     "a step samples once; where updates are counted, divide by minibatches * epochs"),
    # Lengths.
    ("max_completion_length max_new_tokens response_length max_response_length generate_max_len max_gen_len",
     "max_tokens in [sampling]", "the same number"),
    ("max_prompt_length prompt_max_len prompt_length max_length max_len max_seq_length max_seq_len cutoff_len", NONE,
     "nothing is cut; a prompt may be as long as the model can read"),
    ("stop_words stop_strings stop_sequences", "stop in [sampling]", "a list of texts"),
    ("mask_truncated_completions overlong_filtering", "drop_truncated in [stage.settings]", "true or false"),
    # Optimiser.
    ("lr actor_learning_rate actor_lr", "learning_rate in [[stage]]", "the same number"),
    ("critic_lr value_lr", "critic_learning_rate in [[stage]]", "the same number"),
    ("lr_scheduler_type lr_scheduler warmup_style scheduler_type", "schedule in [[stage]]",
     '"constant", "linear" or "cosine"; a warm-up is warmup_steps'),
    ("warmup_ratio lr_warmup_ratio lr_warmup_steps_ratio", "warmup_steps in [[stage]]",
     "warmup_steps = warmup_ratio * steps * minibatches * epochs"),
    ("lr_warmup_steps num_warmup_steps", "warmup_steps in [[stage]]", "the same number"),
    ("max_grad_norm grad_clip max_norm gradient_clipping gradient_clip_val", "clip_norm in [[stage]]",
     "the same number"),
    ("adam_beta1 adam_beta2 adam_betas", "betas in [[stage]]", "betas = [adam_beta1, adam_beta2]"),
    ("optim optimizer optimizer_type", NONE, "the optimiser is AdamW"),
    ("gradient_checkpointing enable_gradient_checkpointing use_gradient_checkpointing", NONE,
     "memory is bounded by tokens_per_microbatch"),
    # The algorithm and its settings.
    ("loss_type", "algorithm in [[stage]]",
     'such as "grpo", "dr_grpo", "dapo", "dpo" or "ipo"; only the averaging is settings = { average = "token_mean" }'),
    ("loss_agg_mode", "average in [stage.settings]",
     'token-mean is "token_mean", seq-mean-token-mean "sequence_mean", seq-mean-token-sum "sequence_sum"'),
    ("adv_estimator advantage_estimator trainer", "algorithm in [[stage]]",
     'such as "grpo", "rloo", "ppo" or "reinforce_pp_baseline"'),
    ("scale_rewards norm_adv_by_std_in_grpo", "baseline in [stage.settings]",
     'true is "group_mean_std", false "group_centred", "batch" is "group_mean_batch_std"'),
    ("beta kl_coef init_kl_coef kl_loss_coef kl_beta kl_penalty_coef", "kl in [stage.settings]",
     "the same number; preference algorithms such as dpo call it 'beta' there"),
    ("use_kl_loss use_kl_in_reward kl_in_reward", "kl_place in [stage.settings]",
     '"loss" or "reward"; kl = 0.0 leaves the penalty out'),
    ("kl_loss_type kl_penalty kl_type", "kl_estimator in [stage.settings]",
     'low_var_kl is "k3", kl is "k1", mse is "k2"'),
    ("epsilon cliprange clip_range eps_clip clip_ratio clip_eps", "clip_low and clip_high in [stage.settings]",
     "both take the number"),
    ("epsilon_high clip_ratio_high eps_clip_high clip_ratio_h", "clip_high in [stage.settings]", "the same number"),
    ("epsilon_low clip_ratio_low eps_clip_low clip_ratio_l", "clip_low in [stage.settings]", "the same number"),
    ("cliprange_value clip_range_vf value_clip_range", "value_clip in [stage.settings]", "the same number"),
    ("vf_coef value_loss_coef", "value_coef in [stage.settings]", "the same number"),
    ("gae_lambda lambd gae_lam", "lam in [stage.settings]", "the same number"),
    ("entropy_coeff entropy_coef entropy_loss_coef ent_coef", "entropy_bonus in [stage.settings]",
     "the same number"),
    ("rpo_alpha sft_loss_coef nll_loss_coef", "nll in [stage.settings]", "the same number"),
    ("simpo_gamma", "gamma in [stage.settings]", "the same number"),
    ("filter_groups dynamic_sampling dynamic_filtering", "sampler in [stage.settings]",
     '"dynamic" draws until the attempts of each task differ'),
    ("ref_model_sync_steps sync_ref_model", "reference_every in [[stage]]", "the same number of steps"),
    ("ref_model reference_model ref_model_path ref_model_mixup_alpha ref", NONE,
     "the reference is the policy that the stage starts from, or with reference_every a later one"),
    ("importance_sampling_level", "surrogate in [stage.settings]",
     '"token" is "ppo_clip", "sequence" is "gspo"'),
    ("delta clip_ratio_c", "dual_clip in [stage.settings]", "the same number"),
    ("vllm_importance_sampling_mode rollout_is tis_mode", "correction in [stage.settings]",
     '"truncate" or "mask", with weight_level = "token", "sequence" or "geometric"'),
    ("vllm_importance_sampling_cap vllm_importance_sampling_clip_max rollout_is_threshold tis_imp_ratio_cap",
     "weight_most in [stage.settings]", "the same number"),
    ("vllm_importance_sampling_clip_min", "weight_least in [stage.settings]", "the same number"),
    ("top_entropy_quantile", "share in [stage.settings]", 'the same number, with tokens = "high_entropy"'),
    ("off_policy_mask_threshold", "left_most in [stage.settings]", "the same number"),
    ("sapo_temperature_pos tau_pos", "tau_good in [stage.settings]", "the same number"),
    ("sapo_temperature_neg tau_neg", "tau_bad in [stage.settings]", "the same number"),
    ("use_bias_correction_kl", "kl_estimator in [stage.settings]", 'true is "k3_ratio"'),
    # Rewards.
    ("reward_funcs reward_func reward_function reward_fn custom_reward_function compute_score remote_rm_url", 
     "score in [reward]", 'your own function is score = \'python("file.py:function")\''),
    ("reward_weights", "score in [reward]", 'parts are weighed there: score = "number() + 0.1 * form()"'),
    ("reward_model reward_model_path reward_pretrain reward_model_name_or_path", "score in [reward]",
     "score = 'reward_model(\"STAGE OR FOLDER\")'"),
    # Model.
    ("model_name_or_path model_name pretrain model_path model_id pretrained_model_name_or_path base_model hf_model",
     "source in [model]", "the same text"),
    ("torch_dtype bf16 fp16 precision mixed_precision", "dtype in [model]",
     '"auto", "bfloat16" or "float32"; there is no float16'),
    ("lora_r lora_rank r", "rank in [model.lora]", "the same number"),
    ("lora_alpha", "alpha in [model.lora]", "the same number"),
    ("lora_dropout", "dropout in [model.lora]", "the same number"),
    ("lora_target_modules target_modules", "targets in [model.lora]", "a list of names; all-linear is to leave it out"),
    ("use_peft peft_config use_lora lora peft", "[model.lora]", "the table itself turns adapters on"),
    ("load_in_4bit use_qlora", "base in [model.lora]", 'base = "nf4"'),
    ("load_in_8bit quantization quantization_config", NONE, "only the base of adapters is kept in fewer bits"),
    ("attn_implementation flash_attn use_liger_kernel use_flash_attention_2 packing padding_free use_remove_padding",
     NONE, "learning is always packed, and attention is chosen for the machine"),
    # Data.
    ("dataset_name dataset hub_dataset", "hub in [data.train]", "\"owner/name\", or a folder that is a copy"),
    ("dataset_config dataset_config_name", "subset in [data.train]", "the same text"),
    ("dataset_train_split", "split in [data.train]", "the same text"),
    ("dataset_test_split", "split in [data.test]", "the same text"),
    ("train_dataset prompt_data train_files train_file data_path dataset_path",
     "file in [data.train]", "a .jsonl or .parquet file, or a folder saved by `datasets`"),
    ("eval_dataset val_files validation_file eval_data test_file test_dataset", "file in [data.test]",
     "a .jsonl or .parquet file, or a folder saved by `datasets`"),
    ("label_key answer_key ground_truth_key solution_column answer_column", "columns in [data.train]",
     '{ answer = "the column" }'),
    ("prompt_key input_key", "columns in [data.train]", '{ prompt = "the column" }'),
    ("dataset_text_field text_column", "columns in [data.train]", '{ text = "the column" }'),
    ("assistant_only_loss train_on_responses_only", "turns in [data.train]", '"all" learns every answer, "last" one'),
    ("system_prompt system_message", "system in [prompt]", "the same text"),
    ("chat_template apply_chat_template", NONE, "the model's own chat template is taken"),
    ("data_seed", "seed in [data.train]", "the same number"),
    ("remove_unused_columns shuffle shuffle_dataset shuffle_prompts dataset_num_proc dataloader_num_workers", NONE,
     "every column reaches the reward, and tasks are shuffled by the seed"),
    # The machine.
    ("use_vllm vllm_mode vllm_gpu_memory_utilization vllm_tensor_parallel_size gpu_memory_utilization "
     "tensor_model_parallel_size tensor_parallel_size deepspeed fsdp fsdp_config zero_stage n_gpus_per_node nnodes "
     "num_processes world_size fast_inference", NONE,
     "one process on one machine, with an engine of its own"),
    ("device_map device_type no_cuda use_cpu use_mps_device trainer_device", "device in [model]",
     "\"cpu\", \"cuda\", \"cuda:1\", \"mps\" or \"xpu\"; left out, an accelerator that torch sees"),
    # What is kept and told.
    ("output_dir default_local_dir save_path ckpt_path save_dir", "--folder on the command line",
     "togi train RECIPE --folder DIR"),
    ("run_name experiment_name", "name at the top", "the same text"),
    ("save_steps save_freq save_interval", "every in [checkpoint]", "steps, not updates"),
    ("save_total_limit max_ckpt_num max_actor_ckpt_to_keep", "keep in [checkpoint]", "the same number"),
    ("save_strategy save_only_model resume_from_checkpoint load_checkpoint", NONE,
     "the same command goes on from the newest checkpoint by itself"),
    ("eval_steps test_freq eval_freq", "every in [evaluation]", "steps, not updates"),
    ("eval_strategy evaluation_strategy do_eval", "[evaluation]",
     "the table itself turns it on: it measures before the first and after every stage, and with every on the way"),
    ("load_best_model_at_end metric_for_best_model", "best in [evaluation]",
     '"mean_score" or "pass@1"; with every, and choice_tasks keeps the choice apart from the result'),
    ("report_to logger use_wandb use_tensorboard wandb use_swanlab log_with", "to in [logging]",
     'a list of "tensorboard", "trackio", "wandb" and "mlflow"; a run needs none'),
    ("wandb_project tracker_project_name project_name wandb_proj_name", "project in [logging]", "the same text"),
    ("wandb_run_name", "run_name in [logging]", "the same text"),
    ("logging_steps logging_dir logging_strategy log_completions disable_tqdm push_to_hub hub_model_id", NONE,
     "every step and every completion is kept in the run's folder; look at it with togi report RUN"),
    ("api_key openai_api_key hf_token token", NONE,
     "a recipe holds no keys; a judge's is named: key_env = \"JUDGE_KEY\""),
)  # fmt: skip

ELSEWHERE = {name: Elsewhere(ours, advice) for names, ours, advice in _ROWS for name in names.split()}
